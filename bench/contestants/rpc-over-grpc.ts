/** `@effect/rpc` over GrpcLive, with mutual TLS. */
import * as GrpcLive from "../../src/Grpc/GrpcLive.js"
import * as RpcOurs from "../rpcOurs.js"

export default RpcOurs.make(GrpcLive.GrpcLive)
