/**
 * Caliper's Fabric connector, but each proposal is endorsed by its own organisation alone: a
 * deposit's transient data must not go to anybody else's peer, and the connector cannot say that.
 */
const { ConnectorFactory: fabric } = require('@hyperledger/caliper-fabric');

module.exports.ConnectorFactory = async (workerIndex) => {
  const connector = await fabric(workerIndex);
  const find = connector._getContractForIdentityOnChannelWithChaincodeID.bind(connector);
  connector._getContractForIdentityOnChannelWithChaincodeID = async (mspId, ...place) => {
    const contract = await find(mspId, ...place);
    return {
      newProposal: (name, options) =>
        contract.newProposal(name, { ...options, endorsingOrganizations: [mspId] }),
    };
  };
  return connector;
};
