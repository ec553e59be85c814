/**
 * The part of the configuration's schema that says where readings come from: brokers, and rules.
 *
 * Enters and leaves as in `schema.ts`. What one field alone cannot say of a broker or a rule is
 * checked here, too: a key without its certificate, a group where the version has none.
 */
import { LIMITS } from '@blocktorrent/protocol/limits.ts';
import { z } from 'zod';
import {
  IN_SAMPLE,
  ms,
  type PathFields,
  pointer,
  text,
  topicFilter,
  topicName,
  whole,
} from './fields.ts';

const BROKER_URL = /^(mqtts?|wss?):\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(\/\S*)?$/;
const BROKER_URL_EXPECTED =
  'mqtt://, mqtts://, ws:// or wss://host:port, without user and password';

/** The section `mqtt`. */
export function mqttSection(paths: PathFields) {
  return z
    .strictObject({
      brokers: z
        .array(brokerSection(paths))
        .describe('Brokers to subscribe at; none where `sources` gives all there is.'),
      statusTopic: topicName()
        .exactOptional()
        .describe(
          'Retained topic: online, stopped, or lost; blocktorrent/MSPID/NAME/status if not given, or off.',
        )
        .meta({ examples: ['site/gateways/gateway-1'] }),
      rules: z
        .array(ruleSection())
        .min(1, { error: 'at least one rule' })
        .describe('What is subscribed to, and how it is read; the first rule that fits decides.'),
    })
    .describe('Where readings come from. Needed for the role ingest.');
}

/** What one broker needs; files are looked at with each connection, so that they can be changed. */
function brokerSection(paths: PathFields) {
  return z
    .strictObject({
      url: z
        .string()
        .regex(BROKER_URL, { error: BROKER_URL_EXPECTED, abort: true })
        // Hosts and ports that no library takes.
        .refine((url) => URL.canParse(url), { error: BROKER_URL_EXPECTED })
        .describe('Address of the broker.')
        .meta({ examples: ['mqtt://127.0.0.1:1883'] }),
      clientId: text('a client id', 'gateway-1')
        .exactOptional()
        .describe('By this the broker keeps the session; blocktorrent-NAME if not given.'),
      username: text('a user name', 'gateway-1').exactOptional().describe('User name.'),
      passwordFile: paths
        .file('mqtt/password')
        .exactOptional()
        .describe(
          'File whose first line is the password; of a systemd credential ' +
            // biome-ignore lint/suspicious/noTemplateCurlyInString: the notation itself
            "'${CREDENTIALS_DIRECTORY}/NAME'.",
        ),
      caFile: paths
        .file('mqtt/ca.pem')
        .exactOptional()
        .describe("PEM certificates to trust for mqtts and wss, instead of the system's."),
      certFile: paths
        .file('mqtt/cert.pem')
        .exactOptional()
        .describe('PEM certificate of this client, where the broker asks for one.'),
      keyFile: paths
        .file('mqtt/key.pem')
        .exactOptional()
        .describe('PEM private key of that certificate.'),
      version: z
        .enum(['auto', '4', '5'])
        .default('auto')
        .describe('MQTT version: 5, 4 (that is 3.1.1), or auto (5, and 4 where that is refused).'),
      share: z
        .string()
        .regex(/^[^/+#\s]+$/, { error: "the name of a group, without '/', '+' and '#'" })
        .exactOptional()
        .describe(
          'Group of a shared subscription (MQTT 5): each message goes to one agent of the group.',
        )
        .meta({ examples: ['gateways'] }),
      sessionExpirySeconds: whole(60, 4_294_967_295)
        .default(604_800)
        .describe('So long an MQTT 5 broker keeps the session, and what comes, while we are away.'),
      keepaliveSeconds: whole(5, 65_535)
        .default(30)
        .describe('A connection without a word for so long is tested.'),
      receiveMaximum: whole(1, 65_535)
        .default(65_535)
        .describe('Messages that an MQTT 5 broker may send before the first is acknowledged.'),
    })
    .superRefine((broker, context) => {
      const report = (key: string, message: string) =>
        context.addIssue({ code: 'custom', path: [key], message });
      if ((broker.certFile === undefined) !== (broker.keyFile === undefined)) {
        const [missing, there] =
          broker.certFile === undefined ? ['certFile', 'keyFile'] : ['keyFile', 'certFile'];
        report(missing, `a file, because \`${there}\` is given`);
      }
      if (broker.passwordFile !== undefined && broker.username === undefined) {
        report('username', 'a user name, because `passwordFile` is given [MQTT-3.1.2-22]');
      }
      if (broker.share !== undefined && broker.version === '4') {
        report('version', '5 or auto, because `share` is given: 3.1.1 has no shared subscriptions');
      }
    });
}

/** Formats whose values the rule must point to; the others describe themselves. */
const DOCUMENTS: readonly string[] = ['json', 'csv', 'cbor', 'msgpack'];
const POINTERS = [
  'sensor',
  'sequence',
  'time',
  'timeOffset',
  'historical',
  'value',
  'values',
  'units',
  'unitAt',
] as const;

/** As long as a batch can hold. */
function unit() {
  const error = `a unit of at most ${LIMITS.nameCharsMax} characters`;
  return text(error, 'Cel').max(LIMITS.nameCharsMax, { error });
}

function ruleSection() {
  const columnName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, {
    error: 'a column name: letters, digits and _',
  });
  return z
    .strictObject({
      topic: topicFilter().describe('MQTT topic filter.'),
      decoder: z
        .enum([
          'json',
          'number',
          'csv',
          'influx',
          'senml-json',
          'senml-cbor',
          'cbor',
          'msgpack',
          'sparkplug',
        ])
        .default('json')
        .describe(
          'How payloads are read (docs/FORMATS.md); what cannot be read goes to the dead letters.',
        ),
      sensor: pointer('/sensor')
        .exactOptional()
        .describe("JSON pointer to the sensor's name; the topic if not given.")
        .meta(IN_SAMPLE),
      sequence: pointer('/seq')
        .exactOptional()
        .describe("JSON pointer to the sensor's own count, by which repetitions are found.")
        .meta(IN_SAMPLE),
      time: pointer('/time')
        .exactOptional()
        .describe("JSON pointer to the sensor's time: a number since 1970, or ISO 8601.")
        .meta(IN_SAMPLE),
      timeUnit: z
        .enum(['ms', 's', 'us', 'ns'])
        .exactOptional()
        .describe('Unit of times that are numbers; ms if not given, ns for influx.'),
      timeOffset: z
        .string()
        .regex(/^(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/, {
          error: "'Z' (UTC) or an offset, e.g. '+01:00'",
        })
        .exactOptional()
        .describe('Offset of times as text that say none, as those of SQLite do: they are UTC.')
        .meta({ examples: ['Z'] }),
      historical: pointer('/buffered')
        .exactOptional()
        .describe('JSON pointer to true where the reading waited in the sensor’s buffer.'),
      historicalAfterMs: ms(0, 31_536_000_000)
        .default(60_000)
        .describe('A reading so much older than its arrival waited in a buffer; 0: never.'),
      value: pointer('/value')
        .exactOptional()
        .describe('JSON pointer to the one value; or use `values`.')
        .meta(IN_SAMPLE),
      values: z
        .record(columnName, pointer('/temperature'))
        .exactOptional()
        .describe('JSON pointers to several values, by name.')
        .meta({ examples: [{ temperature: '/t', humidity: '/h' }], alternative: true }),
      priority: whole(0, 9)
        .default(5)
        .describe('Where the disk is full: readings of the highest priority are kept longest.'),
      rebirth: z
        .boolean({ error: 'true or false' })
        .default(false)
        .describe('Ask a Sparkplug node for its births where messages are missing: a command!'),
      unit: unit().exactOptional().describe('Unit of the value (UCUM).'),
      units: z
        .record(columnName, unit())
        .exactOptional()
        .describe('Units by the names of `values`; `unit` for the others.')
        .meta({ examples: [{ temperature: 'Cel', humidity: '%RH' }], alternative: true }),
      unitAt: pointer('/unit')
        .exactOptional()
        .describe('JSON pointer to the unit, where payloads say it; `units` and `unit` where not.'),
      separator: z
        .string()
        .length(1, { error: 'one character' })
        .default(',')
        .describe('Between the columns of CSV.'),
    })
    .superRefine((rule, context) => {
      const report = (message: string) => context.addIssue({ code: 'custom', message });
      if (rule.rebirth && rule.decoder !== 'sparkplug') {
        report('`rebirth` with the decoder sparkplug only');
      }
      if (rule.topic.startsWith('$blocktorrent')) report('a topic that is not reserved');
      if (rule.topic.startsWith('$share/')) {
        report('a topic filter without a group: `share` of the broker names it');
      }
      const unitless = Object.keys(rule.units ?? {}).find(
        (name) => rule.values?.[name] === undefined,
      );
      if (unitless !== undefined) report(`no unit of \`${unitless}\`, which is none of \`values\``);
      if (DOCUMENTS.includes(rule.decoder)) {
        if ((rule.value === undefined) === (rule.values === undefined)) {
          report('either `value` or `values`');
        }
        return;
      }
      const idle = POINTERS.find((key) => rule[key] !== undefined);
      if (idle !== undefined) report(`no \`${idle}\`: ${rule.decoder} describes itself`);
    });
}
