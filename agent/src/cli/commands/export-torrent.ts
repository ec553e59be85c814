/** `blocktorrent export-torrent FILE_ID`: a .torrent by which any client fetches the ciphertext. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fromBase64 } from '@blocktorrent/protocol/bytes.ts';
import type { CliCommand } from '../command.ts';
import { fileId } from '../options.ts';

export const exportTorrentCommand: CliCommand = {
  name: 'export-torrent',
  describe: 'make a .torrent of a stored file, for ordinary BitTorrent clients',
  group: 'Files:',
  register(command, contextOf) {
    command
      .argument('<file-id>', '64 hex digits, as `put` and `files` show them', fileId)
      .option('-o, --out <file>', 'where to write it (default: FILE_ID.torrent)')
      .action(async (id: string, { out }: { out?: string }) => {
        const { output, call } = contextOf();
        const { torrent, trackers } = await call('export-torrent', { fileId: id });
        const path = resolve(out ?? `${id}.torrent`);
        await writeFile(path, fromBase64(torrent), { flag: 'wx' });
        output.result(
          { fileId: id, path, trackers },
          `${path}, with ${trackers.length} trackers; what it fetches is encrypted`,
        );
      });
  },
};
