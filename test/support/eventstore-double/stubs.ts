/** The client's own generated stubs (CommonJS without export names that Node could find). */
import type * as streamsStubs from '@eventstore/db-client/generated/streams_pb.js';
import type * as streamsGrpcStubs from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type * as sharedStubs from '@eventstore/db-client/generated/shared_pb.js';
import type * as statusStubs from '@eventstore/db-client/generated/status_pb.js';
import type * as featuresStubs from '@eventstore/db-client/generated/serverfeatures_pb.js';
import type * as featuresGrpcStubs from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js';
import type * as gossipStubs from '@eventstore/db-client/generated/gossip_pb.js';
import type * as gossipGrpcStubs from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import type * as anyStubs from 'google-protobuf/google/protobuf/any_pb.js';
import type * as emptyStubs from 'google-protobuf/google/protobuf/empty_pb.js';
import { createRequire } from 'node:module';

const load = createRequire(import.meta.url);

export const streams = load('@eventstore/db-client/generated/streams_pb.js') as typeof streamsStubs;
export const streamsGrpc = load('@eventstore/db-client/generated/streams_grpc_pb.js') as typeof streamsGrpcStubs;
export const shared = load('@eventstore/db-client/generated/shared_pb.js') as typeof sharedStubs;
export const status = load('@eventstore/db-client/generated/status_pb.js') as typeof statusStubs;
export const features = load('@eventstore/db-client/generated/serverfeatures_pb.js') as typeof featuresStubs;
export const featuresGrpc = load(
  '@eventstore/db-client/generated/serverfeatures_grpc_pb.js',
) as typeof featuresGrpcStubs;
export const gossip = load('@eventstore/db-client/generated/gossip_pb.js') as typeof gossipStubs;
export const gossipGrpc = load('@eventstore/db-client/generated/gossip_grpc_pb.js') as typeof gossipGrpcStubs;
export const { Any } = load('google-protobuf/google/protobuf/any_pb.js') as typeof anyStubs;
export const { Empty } = load('google-protobuf/google/protobuf/empty_pb.js') as typeof emptyStubs;
