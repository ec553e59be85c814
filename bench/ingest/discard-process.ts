/**
 * The baseline: a bare MQTT.js subscriber that throws everything away.
 * `node discard-process.ts URL CLIENT_ID COUNT`; same session, QoS and report as the gateway's.
 */
import { connect } from 'mqtt';

const [, , url = '', clientId = '', count = '0'] = process.argv;
const wanted = Number(count);
let received = 0;
const startedMs = performance.now();
const cpuBefore = process.cpuUsage();
const client = connect(url, {
  clientId,
  clean: false,
  protocolVersion: url.includes('?v5') ? 5 : 4,
  reconnectPeriod: 0,
});
client.on('message', () => {
  received += 1;
  if (received === wanted) finish();
});
client.once('connect', () => {
  client.subscribe('site/#', { qos: 1 }, () => {
    process.stdout.write('{"subscribed":true}\n');
    if (wanted === 0) finish();
  });
});

function finish(): void {
  const seconds = (performance.now() - startedMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  const cpuSeconds = (cpu.user + cpu.system) / 1e6;
  // After the last PUBACK, which MQTT.js sends when this handler has returned.
  setImmediate(() => {
    client.end(false, () => {
      process.stdout.write(`${JSON.stringify({ seconds, cpuSeconds })}\n`, () => process.exit(0));
    });
  });
}
