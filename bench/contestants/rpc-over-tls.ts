/** `@effect/rpc` over TlsLive, with mutual TLS. */
import * as TlsLive from "effect-transport/Tls"
import * as RpcOurs from "../rpcOurs.js"

export default RpcOurs.make(TlsLive.TlsLive)
