/**
 * In the bundle of the agent, instead of `@hyperledger/fabric-protos`: those messages that Fabric's
 * client names (test/packaging/bundle.test.ts). The package itself loads all of Fabric's, 2 MB of
 * generated source: an idle agent keeps 2.7 MiB less.
 */
exports.common = require('@hyperledger/fabric-protos/lib/common/common_pb');
exports.gateway = require('@hyperledger/fabric-protos/lib/gateway/gateway_pb');
exports.google = require('@hyperledger/fabric-protos/lib/google');
exports.msp = require('@hyperledger/fabric-protos/lib/msp/identities_pb');
exports.orderer = require('@hyperledger/fabric-protos/lib/orderer/ab_pb');
exports.peer = {
  ...require('@hyperledger/fabric-protos/lib/peer/chaincode_event_pb'),
  ...require('@hyperledger/fabric-protos/lib/peer/chaincode_pb'),
  ...require('@hyperledger/fabric-protos/lib/peer/events_pb'),
  ...require('@hyperledger/fabric-protos/lib/peer/proposal_pb'),
  ...require('@hyperledger/fabric-protos/lib/peer/proposal_response_pb'),
  ...require('@hyperledger/fabric-protos/lib/peer/transaction_pb'),
};
