/** What is a topic filter, and why something else is none (MQTT 3.1.1 §4.7). */
import { filterFault } from '@blocktorrent/protocol/topic-filter.ts';
import { expect, it } from 'vitest';

it.each(['#', '+', '/', 'a', ' ', 'a/b ', 'a//b', '/#', '+/+/#', 'a/+/c', '$SYS/#', 'é/😀'])(
  '%j is a topic filter',
  (filter) => {
    expect(filterFault(filter)).toBeNull();
    expect(filterFault(filter.padEnd(65_000, 'x').replace(/[#+]/g, 'y'))).toBeNull();
  },
);

it.each([
  ['', 'it is empty'],
  ['a/#/b', "'#' is not the last level"],
  ['#/', "'#' is not the last level"],
  ['##', "'#' is not alone in the level '##'"],
  ['a/b#', "'#' is not alone in the level 'b#'"],
  ['a+/b', "'+' is not alone in the level 'a+'"],
  ['a/+b/#', "'+' is not alone in the level '+b'"],
  ['a\0b', 'it has a null character'],
  ['a\ud800', 'it is no Unicode text'],
  ['é'.repeat(32_768), 'it has more than 65535 bytes'],
  [`${'x'.repeat(100)}+`, `'+' is not alone in the level '${'x'.repeat(60)}…'`],
])('%j is none, and is told why', (filter, fault) => {
  expect(filterFault(filter)).toBe(fault);
});
