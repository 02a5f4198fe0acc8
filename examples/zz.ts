import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Transport, Credentials, Tls, Grpc } from "effect-transport"
import { EchoService } from "./gen/echo/v1/echo_pb.js"
let n = 0
const h = Transport.handlers(EchoService, {
  echo: (req) => Effect.succeed({ message: req.message }),
  echoServerStream: (req) => Stream.range(1, req.repeat).pipe(Stream.rechunk(1), Stream.map((i) => (n++, { message: req.message, index: i, payload: new Uint8Array(4096) }))),
  echoClientStream: (reqs) => Stream.runCount(reqs).pipe(Effect.map((n) => ({ index: n }))),
  echoBidi: (reqs) => Stream.map(reqs, (r) => ({ message: r.message })),
})
Effect.gen(function*() {
  const l = yield* Transport.listen([h], { port: 0 })
  const c = yield* Transport.client(EchoService, l.target)
  const t0 = performance.now()
  let got = 0
  const t = setInterval(() => console.log("sent", n, "got", got, performance.now() - t0), 500)
  yield* Stream.runForEach(c.echoServerStream({ repeat: 20000 }).pipe(Stream.take(3000)), () => Effect.sync(() => { got++ }))
  console.log(n, got, performance.now() - t0); clearInterval(t)
}).pipe(Effect.scoped, Effect.provide(Layer.provide(process.argv[2] === "grpc" ? Grpc.layer({ maxSendMessageSize: 10000 }): Tls.layer({ maxSendMessageSize: 10000 }), Credentials.layerDev())), Effect.runPromise).then(console.log, console.log)
