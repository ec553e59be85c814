/** Every step that `state.sqlite` has gone through, oldest first. */
import { DUTY_LIST_MIGRATION } from './consortium/duty-list.ts';
import { WATCHED_FOLDER_MIGRATION } from './ingest/watched-folder.ts';
import { FILE_QUEUE_AGES_MIGRATION, FILE_QUEUE_MIGRATIONS } from './runtime/file-queue.ts';

export const STATE_MIGRATIONS: readonly string[] = [
  ...FILE_QUEUE_MIGRATIONS,
  DUTY_LIST_MIGRATION,
  WATCHED_FOLDER_MIGRATION,
  FILE_QUEUE_AGES_MIGRATION,
];
