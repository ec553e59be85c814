/** The configuration file: defaults, and what it says about mistakes. */
import { describe, expect, it } from 'vitest';
import { ConfigError, DEFAULTS, parseConfig } from '../../devledger/src/config.ts';

const organisation = {
  mspId: 'Org1MSP',
  listen: '127.0.0.1:0',
  tlsCert: 'peer.pem',
  tlsKey: 'peer.key',
  rootCerts: ['ca.pem'],
};
const chaincode = {
  name: 'ledger',
  addresses: '127.0.0.1:7052',
  endorsementPolicy: { outOf: 1, mspIds: ['Org1MSP'] },
};
const valid = {
  channel: 'blocktorrent',
  dataDir: 'data',
  organisations: [organisation, { mspId: 'AuditorMSP', rootCerts: ['a.pem'], peerless: true }],
  chaincodes: [chaincode],
};

describe('the configuration', () => {
  it('takes defaults for what is left out', () => {
    expect(parseConfig(valid)).toMatchObject(DEFAULTS);
    expect(parseConfig(valid).chaincodes[0]?.collections).toEqual([]);
  });

  it.each([
    ['channel', { ...valid, channel: '' }],
    ['blockIntervalMs', { ...valid, blockIntervalMs: -1 }],
    ['organisations[0].listen', { ...valid, organisations: [{ ...organisation, listen: 5 }] }],
    ['appears twice', { ...valid, organisations: [organisation, organisation] }],
    [
      'chaincodes[0].endorsementPolicy',
      { ...valid, chaincodes: [{ ...chaincode, endorsementPolicy: 1 }] },
    ],
    ['chaincodes[0].addresses', { ...valid, chaincodes: [{ ...chaincode, addresses: 1 }] }],
    ['config', []],
  ])('says where a mistake is: %s', (where, json) => {
    expect(() => parseConfig(json)).toThrow(ConfigError);
    expect(() => parseConfig(json)).toThrow(where);
  });
});
