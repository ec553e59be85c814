/** `blocktorrent scrub`: every chunk that the running agent keeps is read and compared, now. */
import type { ScrubResult } from '../../store/scrub.ts';
import type { CliCommand } from '../command.ts';
import { bytesText } from '../output.ts';

export const scrubCommand: CliCommand = {
  name: 'scrub',
  describe: 'read every kept chunk and compare it with its digests, now',
  group: 'Agent:',
  register(command, contextOf) {
    command.action(async () => {
      const { call, output } = contextOf();
      const result = await call('scrub', null, {
        onProgress: (value) => output.progress('chunks checked', (value as ScrubResult).chunks, 0),
      });
      const { chunks, bytes, lost } = result;
      const verdict =
        lost === 0
          ? 'all as they should be'
          : `${lost} rotten or gone: deleted, and fetched again from other owners`;
      output.result(result, `${chunks} chunks, ${bytesText(bytes)}: ${verdict}`);
    });
  },
};
