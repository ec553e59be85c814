/**
 * What both workloads need: the first organisation deposits a fresh key for the holders, 2 of n,
 * Feldman's scheme.
 */
const { randomBytes } = require('node:crypto');

const DEPOSITOR = 'Org1MSP';
const POOL = 64;

/** Keys that are made before the clock runs; identities repeat, file ids never do. */
exports.keyPool = async () => {
  const { identityFromRandom, recipientOf } = await import('../../protocol/src/age-keys.ts');
  return Array.from({ length: POOL }, () => {
    const identity = identityFromRandom(randomBytes(32));
    return { identity, recipient: recipientOf(identity) };
  });
};

/** `Org2MSP`, … */
exports.holdersOf = (n) => Array.from({ length: n }, (_, i) => `Org${i + 2}MSP`);

exports.deposit = ({ identity, recipient }, holders) => {
  const fileId = randomBytes(32).toString('hex');
  const n = holders.length;
  const input = { fileId, recipient, scheme: 'feldman-25519', k: 2, n, holders };
  return {
    contractId: 'keys',
    contractFunction: 'keys:Deposit',
    contractArguments: [JSON.stringify(input)],
    transientMap: { identity, entropy: randomBytes(32) },
    invokerMspId: DEPOSITOR,
    invokerIdentity: 'agent',
    readOnly: false,
  };
};
