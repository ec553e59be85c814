/**
 * The part of the configuration's schema for other sources than MQTT: folders, and tables of SQLite.
 *
 * Enters and leaves as in `schema.ts`. Rows become readings by `mqtt.rules`, as messages do; files go
 * the way of `blocktorrent put`.
 */
import { resolve, sep } from 'node:path';
import { z } from 'zod';
import { ageRecipient, ms, type PathFields, text, topicName } from './fields.ts';

/** The section `sources`. */
export function sourcesSection(paths: PathFields) {
  return z
    .strictObject({
      folders: z
        .array(folderSection(paths))
        .default([])
        .describe('Folders whose files are recorded on the ledger, each once.'),
      tables: z
        .array(tableSection(paths))
        .default([])
        .describe('Tables of SQLite databases whose rows become readings, each once.'),
    })
    .prefault({})
    .describe('Where else the private database comes from. Needs the role ingest.');
}

function folderSection(paths: PathFields) {
  return z
    .strictObject({
      path: paths
        .folder('/srv/documents')
        .describe(
          "Folder; its files are looked at, not those of folders in it, nor '.…', '….tmp'.",
        ),
      stableMs: ms(0, 86_400_000)
        .default(10_000)
        .describe('A file is complete when it has not changed for so long; 0: when it is there.'),
      everyMs: ms(100, 3_600_000).default(2_000).describe('The folder is looked at so often.'),
      recipients: z
        .array(ageRecipient())
        .max(60)
        .default([])
        .describe('age recipients who may open these files without a vote.'),
      after: z
        .enum(['keep', 'move', 'delete'])
        .default('keep')
        .describe('What becomes of a file once it is available on the ledger.'),
      moveTo: paths
        .folder('/srv/recorded')
        .exactOptional()
        .describe('Where `after: move` moves it; made if missing.'),
    })
    .refine(({ after, moveTo }) => after !== 'move' || moveTo !== undefined, {
      path: ['moveTo'],
      error: 'a folder, because `after` is move',
    });
}

function tableSection(paths: PathFields) {
  return z.strictObject({
    file: paths.folder('/srv/scale/weights.sqlite').describe('The SQLite database; read only.'),
    table: text('the name of a table', 'weighing').describe('Its table.'),
    cursor: text('the name of a column', 'id')
      .default('rowid')
      .describe('Column that is unique and grows with each row: what is behind it is read.'),
    columns: z
      .array(text('the name of a column', 'weight'))
      .min(1, { error: 'at least one column' })
      .exactOptional()
      .describe('Columns of the reading; all if not given.')
      .meta({ examples: [['id', 'weighed_at', 'weight']] }),
    topic: topicName()
      .describe('Topic of its readings; one of `mqtt.rules` must fit it, with decoder json.')
      .meta({ examples: ['site/weighing'] }),
    everyMs: ms(100, 3_600_000).default(1_000).describe('New rows are looked for so often.'),
  });
}

/**
 * What is wrong with the folders together: the place in the list, the key, and what is expected there.
 * Paths are as they were written, `from` is the folder that they start from.
 */
export function folderProblems(
  folders: readonly unknown[],
  dataDir: unknown,
  from: string,
): { readonly index: number; readonly key: string; readonly expected: string }[] {
  const pathOf = (value: unknown) => (typeof value === 'string' ? resolve(from, value) : null);
  const watched = folders.map((folder) => pathOf(Object(folder).path));
  const own = pathOf(dataDir);
  return folders.flatMap((folder, index) => {
    const path = watched[index] ?? null;
    const moveTo = pathOf(Object(folder).moveTo);
    // What the agent writes would be new files, without an end.
    if (path !== null && own !== null && `${path}${sep}`.startsWith(`${own}${sep}`)) {
      return { index, key: 'path', expected: 'a folder outside `dataDir`' };
    }
    if (path !== null && watched.indexOf(path) < index) {
      return { index, key: 'path', expected: 'another folder: this one is watched already' };
    }
    if (moveTo === null || !watched.includes(moveTo)) return [];
    return { index, key: 'moveTo', expected: 'a folder that is not watched' };
  });
}
