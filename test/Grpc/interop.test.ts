/** gRPC's interoperability tests with implementations that run in this process. */
import { connectNode } from "../fixtures/interop/connectNode.js"
import { grpcJs } from "../fixtures/interop/grpcJs.js"
import { interopSuite } from "../fixtures/interop/interopSuite.js"
import { niceGrpc } from "../fixtures/interop/niceGrpc.js"

for (const peer of [grpcJs, niceGrpc, connectNode]) {
  interopSuite(peer)
}
