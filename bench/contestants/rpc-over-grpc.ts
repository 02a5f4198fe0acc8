/** `@effect/rpc` over GrpcLive, with mutual TLS. */
import * as GrpcLive from "effect-transport/Grpc"
import * as RpcOurs from "../rpcOurs.js"

export default RpcOurs.make(GrpcLive.GrpcLive)
