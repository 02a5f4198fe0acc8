/** gRPC's interoperability tests with grpc-js; those with others are in test/long. */
import { grpcJs } from "../fixtures/interop/grpcJs.js"
import { interopSuite } from "../fixtures/interop/interopSuite.js"

interopSuite(grpcJs)
