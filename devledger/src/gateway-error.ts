/**
 * Errors as Fabric's gateway reports them: a gRPC status, and in `grpc-status-details-bin` a
 * google.rpc.Status whose details name the peer that said it (gateway.ErrorDetail).
 */
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { gateway, google } from '@hyperledger/fabric-protos';
import anyProto from 'google-protobuf/google/protobuf/any_pb.js';

/** What one peer had to say. */
export interface PeerMessage {
  readonly address: string;
  readonly mspId: string;
  readonly message: string;
}

/** A failure with its place in Fabric's table of codes. */
export class GatewayFailure extends Error {
  override readonly name = 'GatewayFailure';
  readonly code: status;
  readonly details: readonly PeerMessage[];

  constructor(code: status, message: string, details: readonly PeerMessage[] = []) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/** The error to hand to grpc-js; what is no GatewayFailure is INTERNAL. */
export function serviceError(error: unknown): ServiceError {
  const failure =
    error instanceof GatewayFailure
      ? error
      : new GatewayFailure(status.INTERNAL, error instanceof Error ? error.message : String(error));
  const metadata = new Metadata();
  if (failure.details.length > 0) {
    metadata.set('grpc-status-details-bin', Buffer.from(statusOf(failure).serializeBinary()));
  }
  const { name, message, code } = failure;
  return { name, message, code, details: message, metadata };
}

function statusOf(failure: GatewayFailure): google.rpc.Status {
  const result = new google.rpc.Status();
  result.setCode(failure.code);
  result.setMessage(failure.message);
  result.setDetailsList(
    failure.details.map(({ address, mspId, message }) => {
      const detail = new gateway.ErrorDetail();
      detail.setAddress(address);
      detail.setMspId(mspId);
      detail.setMessage(message);
      const any = new anyProto.Any();
      any.pack(detail.serializeBinary(), 'gateway.ErrorDetail');
      return any;
    }),
  );
  return result;
}
