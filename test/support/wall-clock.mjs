/**
 * Loaded before a program's own modules (`--import`): its wall clock is off by what a file says.
 *
 * Enters: BLOCKTORRENT_TEST_CLOCK, a file with the offset in ms; read ten times a second. Leaves:
 * `Date.now()` and `new Date()` so far from the machine's. Always holds: monotonic clocks are the
 * machine's, as in a machine whose clock is set. Plain JavaScript, so that a program that needs no
 * type stripping does not load it for this.
 */
import { readFileSync } from 'node:fs';

const path = process.env.BLOCKTORRENT_TEST_CLOCK ?? '';
const MachineDate = Date;
let offsetMs = 0;

function look() {
  offsetMs = Number(readFileSync(path, 'utf8'));
}

const nowMs = () => MachineDate.now() + offsetMs;
look();
setInterval(look, 100).unref();
globalThis.Date = new Proxy(MachineDate, {
  construct: (_target, values, newTarget) =>
    Reflect.construct(MachineDate, values.length === 0 ? [nowMs()] : values, newTarget),
  get: (target, name, receiver) => (name === 'now' ? nowMs : Reflect.get(target, name, receiver)),
});
