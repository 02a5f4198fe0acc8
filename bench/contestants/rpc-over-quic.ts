/** `@effect/rpc` over QuicLive, with mutual TLS. */
import * as QuicLive from "../../src/Quic/QuicLive.js"
import * as RpcOurs from "../rpcOurs.js"

export default RpcOurs.make(QuicLive.QuicLive)
