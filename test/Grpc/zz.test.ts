import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Transport } from "effect-transport"
import { echoHandlers, insecure, on } from "../fixtures/grpc.js"
import * as H2 from "../fixtures/http2.js"
import { connect } from "../Tls/support.js"
const bidi = "/echo.v1.EchoService/EchoBidi"
const request = (stream: number, to: string) =>
  H2.frame(H2.type.headers, H2.endHeaders, stream, H2.headerBlock(H2.grpcHeaders(to)))
const reset = (stream: number) => H2.frame(H2.type.rstStream, 0, stream, Buffer.of(0, 0, 0, 8))
const many = (n: number, make: (i: number) => Buffer) => Buffer.concat(Array.from({ length: n }, (_, i) => make(i)))
it.live("x", () => Effect.scoped(Effect.gen(function* () {
  const { address } = yield* on(insecure)(Transport.listen([echoHandlers()]))
  for (const n of [100, 100, 500, 900, 5000]) {
    const s = yield* connect(address.port)
    const t = Date.now()
    s.write(Buffer.concat([H2.preface, H2.settings(), many(n, i => Buffer.concat([request(2*i+1, bidi), reset(2*i+1)])),H2.frame(H2.type.ping, 0, 0, Buffer.of(0, 0, 0, 0, 0, 0, 0, 9)) ]))
    let last = 0
    const seen: any = {}
    yield* Effect.async<void>((resume) => { s.on("close", () => resume(Effect.void)); H2.onFrames(s, f => { seen[f.type] = (seen[f.type] ?? 0) + 1; if (f.type === H2.type.goaway) { console.log("goaway", f.payload.toString("latin1")); resume(Effect.void) } ; if (f.type === H2.type.ping) resume(Effect.void) }) })
    console.log(n, Date.now() - t, seen)
    const tt = Date.now(); yield* Effect.sleep(0); console.log("loop lag", Date.now()-tt)
  }
})), 60000)
