/**
 * Loaded before a program's own modules (`--import`): it gets SIGTERM while it says a text.
 *
 * Enters: BLOCKTORRENT_TEST_STOP_AT, a text that its log will have. Leaves: the signal, sent by the
 * process itself, so that no other one has to be quick for the moment to be the right one.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const text = process.env.BLOCKTORRENT_TEST_STOP_AT ?? '';
const { writeSync } = fs;

fs.writeSync = (descriptor, data, ...rest) => {
  if (text !== '' && String(data).includes(text)) process.kill(process.pid, 'SIGTERM');
  return writeSync(descriptor, data, ...rest);
};
syncBuiltinESMExports();
