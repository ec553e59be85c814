/**
 * A payload that is one decimal number, e.g. `21.5`: the value is named `value`.
 *
 * Most of them are JSON by themselves, so nothing is stored beside the payload; `+21.5` and `.5` are
 * none.
 */
import type { DecodeRule, Decoder } from '../finding.ts';
import { DecodeError } from './decode-error.ts';
import { numberOf, textOf } from './text.ts';

const CHARS_MAX = 64;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** A decoder for one rule. */
export function createNumberDecoder(rule: DecodeRule): Decoder {
  const unit = rule.unit ?? '';
  return ({ payload }) => {
    const text =
      payload.length > CHARS_MAX ? null : textOf(payload).replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
    const value = text === null ? null : numberOf(text);
    if (text === null || value === null) throw new DecodeError('not a number');
    const samples = JSON_NUMBER.test(text)
      ? []
      : [{ sensor: null, name: 'value', unit, timeMs: null, value }];
    return { sensor: null, deviceSeq: null, deviceMs: null, historical: null, samples };
  };
}
