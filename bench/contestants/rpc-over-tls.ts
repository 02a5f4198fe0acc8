/** `@effect/rpc` over TlsLive, with mutual TLS. */
import * as TlsLive from "../../src/Tls/TlsLive.js"
import * as RpcOurs from "../rpcOurs.js"

export default RpcOurs.make(TlsLive.TlsLive)
