/**
 * One line of CSV (RFC 4180): the pointer `/0` is the first column, `/1` the second, and so on.
 *
 * A column that looks like a number is one, but not where a sensor's name is expected; an empty
 * column is not there.
 */
import { parse } from 'csv-parse/sync';
import type { DecodeRule, Decoder } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { createDocumentReader } from './document.ts';
import { numberOf, textOf } from './text.ts';

const COLUMNS_MAX = 1000;
const LINE_BYTES_MAX = 64 * 1024;

/** A decoder for one rule. Throws RangeError when one of its pointers is no JSON pointer. */
export function createCsvDecoder(rule: DecodeRule): Decoder {
  const read = createDocumentReader(rule, { format: 'CSV', samples: 'all' });
  const delimiter = rule.separator ?? ',';
  return ({ payload }) => {
    if (payload.length > LINE_BYTES_MAX) {
      throw new DecodeError(`a line of CSV of ${payload.length} bytes, at most ${LINE_BYTES_MAX}`);
    }
    const lines: string[][] = parse(textOf(payload), {
      delimiter,
      trim: true,
      bom: true,
      skip_empty_lines: true,
      relax_column_count: true,
    });
    const [columns] = lines;
    if (columns === undefined || lines.length !== 1) {
      throw new DecodeError(`expected one line of CSV, found ${lines.length}`);
    }
    if (columns.length > COLUMNS_MAX) {
      throw new DecodeError(`expected at most ${COLUMNS_MAX} columns, found ${columns.length}`);
    }
    return read(
      columns.map((text, index) => {
        if (text === '') return undefined;
        return rule.sensor === `/${index}` ? text : (numberOf(text) ?? text);
      }),
    );
  };
}
