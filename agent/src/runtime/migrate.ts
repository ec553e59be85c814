/**
 * Forward-only migrations of a SQLite file by its `user_version`.
 *
 * Enters: an open database and every step there ever was, oldest first. Always holds: a step and
 * its new version number are one transaction; a file from a newer release is refused untouched.
 */

/** What is needed of a better-sqlite3 `Database`. */
export interface MigratableDatabase {
  readonly name: string;
  readonly inTransaction: boolean;
  pragma(source: string, options?: { simple?: boolean }): unknown;
  exec(source: string): unknown;
}

/** A database that this release cannot use. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly code: 'newer' | 'failed';

  constructor(code: 'newer' | 'failed', message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Brings `db` from its version to `migrations.length`; step i (SQL) leads from version i to i + 1.
 * Returns the version it had. Throws `MigrationError`: 'newer' where a newer release has written
 * the file, 'failed' (with the file as it was) where a step does not run.
 */
export function migrate(db: MigratableDatabase, migrations: readonly string[]): number {
  const from = Number(db.pragma('user_version', { simple: true }));
  if (from > migrations.length) {
    throw new MigrationError(
      'newer',
      `${db.name} has version ${from}; this release knows versions up to ${migrations.length}. A newer release has written it: install that one, or restore a copy from before the upgrade`,
    );
  }
  for (let version = from; version < migrations.length; version += 1) {
    db.exec('BEGIN IMMEDIATE');
    try {
      db.exec(migrations[version] ?? '');
      db.pragma(`user_version = ${version + 1}`);
      db.exec('COMMIT');
    } catch (cause) {
      if (db.inTransaction) db.exec('ROLLBACK');
      throw new MigrationError('failed', `${db.name}: step to version ${version + 1} failed`, {
        cause,
      });
    }
  }
  return from;
}
