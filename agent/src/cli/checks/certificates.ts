/** The doctor's looks at certificates: days left, and whether each fits its key. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Config } from '../../config/load.ts';
import { type Finding, fail, ok, warn } from './finding.ts';

const DAY_MS = 86_400_000;
const DAYS_LEFT_MIN = 30;
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** A certificate file of the configuration, and its key where there is one. */
interface Named {
  /** Dotted key in the configuration. */
  readonly key: string;
  readonly file: string;
  readonly keyFile: string | null;
}

/** Every certificate that the configuration names, against `nowMs`. */
export function checkCertificates(config: Config, nowMs: number): Finding[] {
  return namedIn(config).map((named) => {
    const name = `certificate ${named.key}`;
    try {
      return checkOne(name, named, nowMs);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      return fail(name, `${named.file}: ${message}`, 'Put a PEM certificate there.');
    }
  });
}

function namedIn({ ledger, overlay, mqtt }: Config): Named[] {
  const brokers = (mqtt?.brokers ?? []).flatMap(({ caFile, certFile, keyFile }, i) => {
    const at = `mqtt.brokers[${i}]`;
    return [
      ...(caFile === undefined ? [] : [{ key: `${at}.caFile`, file: caFile, keyFile: null }]),
      ...(certFile === undefined
        ? []
        : [{ key: `${at}.certFile`, file: certFile, keyFile: keyFile ?? null }]),
    ];
  });
  return [
    { key: 'ledger.certFile', file: ledger.certFile, keyFile: ledger.keyFile ?? null },
    ...ledger.peers.map(({ tlsRootFile }, i) => {
      return { key: `ledger.peers[${i}].tlsRootFile`, file: tlsRootFile, keyFile: null };
    }),
    { key: 'overlay.certFile', file: overlay.certFile, keyFile: overlay.keyFile },
    ...brokers,
  ];
}

/** Of several certificates in a file the one that ends first counts. */
function checkOne(name: string, { file, keyFile }: Named, nowMs: number): Finding {
  const certificates = (readFileSync(file, 'utf8').match(PEM) ?? []).map(
    (pem) => new X509Certificate(pem),
  );
  const [first] = certificates;
  if (first === undefined) return fail(name, `${file} holds none`, 'Put a PEM certificate there.');
  if (keyFile !== null && !first.checkPrivateKey(createPrivateKey(readFileSync(keyFile)))) {
    return fail(name, `${file} does not fit ${keyFile}`, 'Use the key that it was requested with.');
  }
  const ends = Math.min(...certificates.map((one) => Date.parse(one.validTo)));
  const begins = Math.max(...certificates.map((one) => Date.parse(one.validFrom)));
  const days = Math.floor((ends - nowMs) / DAY_MS);
  const until = new Date(ends).toISOString().slice(0, 10);
  const renew = 'Have a new one issued; `systemctl reload` or a restart takes it.';
  if (begins > nowMs) return fail(name, `not valid before ${first.validFrom}`, 'Check the clock.');
  if (days < 0) return fail(name, `expired on ${until}`, renew);
  if (days < DAYS_LEFT_MIN) return warn(name, `${days} days left, until ${until}`, renew);
  return ok(name, `${days} days left, until ${until}`);
}
