/** The listener that is attacked, with the defaults of the library and one rule: `npm run bench:attacks`. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Admission from "effect-transport/Admission"
import * as Authorizer from "effect-transport/Authorizer"
import * as Transport from "effect-transport/Transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { serve } from "./protocol.js"
import * as Wires from "./wires.js"

/** What the tenant may; the attack makes ten times as many. */
export const tenantRate = 200

const zeros = new Uint8Array(4 * 2 ** 20)

const handlers = Transport.handlers(
  EchoService,
  {
    echo: ({ payload, payloadSize }) =>
      Effect.succeed({ payload: payloadSize === 0 ? payload : zeros.subarray(0, payloadSize) }),
    echoServerStream: ({ payloadSize, repeat }) =>
      Stream.map(Stream.range(1, repeat, 1), () => ({ payload: zeros.subarray(0, payloadSize) })),
    echoClientStream: () => Effect.never,
    echoBidi: () => Stream.never
  },
  {
    authorize: {
      echo: Authorizer.any,
      echoServerStream: Authorizer.any,
      echoClientStream: Authorizer.any,
      echoBidi: Authorizer.fingerprint("0".repeat(64))
    }
  }
)

const everyMillis = 5
/** To ask for it costs a millisecond where there is much. */
const memoryMillis = 100
let lastMemory = 0
let last = performance.now()
let pause = 0
let peak = 0

/** How late a timer is, which stands for whatever waits for the event loop. */
setInterval(() => {
  const now = performance.now()
  pause = Math.max(pause, now - last - everyMillis)
  last = now
  if (now - lastMemory > memoryMillis) {
    lastMemory = now
    peak = Math.max(peak, process.memoryUsage.rss())
  }
}, everyMillis)

const mebibytes = (bytes: number) => bytes / 2 ** 20

serve({
  listen: async (wire, certificates, hosts) => {
    const { run } = await Wires.open(wire, certificates)
    const admission = await run(
      Admission.make({
        rules: [
          Admission.rule({
            name: "tenant",
            match: { san: "DNS:tenant" },
            limits: { callsPerSecond: { rate: tenantRate, burst: tenantRate } }
          })
        ]
      })
    )
    const ports: Array<number> = []
    for (const host of hosts) {
      const { address } = await run(Transport.listen([handlers], { host, admission }))
      ports.push(address.port)
    }
    return ports
  },
  strain: () => {
    const strain = {
      pause: Math.max(pause, performance.now() - last - everyMillis),
      rss: mebibytes(process.memoryUsage.rss()),
      peak: mebibytes(Math.max(peak, process.memoryUsage.rss()))
    }
    pause = 0
    peak = 0
    return strain
  }
})
