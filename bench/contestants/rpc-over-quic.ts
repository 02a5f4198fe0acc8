/** `@effect/rpc` over QuicLive, with mutual TLS. */
import * as QuicLive from "effect-transport/Quic"
import * as RpcOurs from "../rpcOurs.js"

export default RpcOurs.make(QuicLive.QuicLive)
