/** One large stream from server to client, next to a plain TLS socket: `npm run bench:bulk -- --help`. */
import { fork } from "node:child_process"
import { once } from "node:events"
import { Readable } from "node:stream"
import * as Tls from "node:tls"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import type { EchoRequest } from "../examples/gen/echo/v1/echo_pb.js"
import type { Certificates } from "./contestant.js"
import { host, request, response } from "./echo.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:bulk -- [options]
  --only a,b   these and the pipe: bare-tls, tls-live, grpc-live, grpc-js
  --rounds n   default 3; each with processes of its own
  --mib n      size of the stream; default 1024
  --message n  size of a message in KiB; default 64
  --profile d  write CPU profiles of the last round there, and print what costs most`

/** What is sent: so many messages of a size. */
type Load = Pick<EchoRequest, "repeat" | "payloadSize">

/** What the contestants of the other benchmarks do not have. */
interface Plain {
  readonly serve: (certificates: Certificates, load: Load) => Promise<number>
  /** Gives the number of bytes that came. */
  readonly download: (certificates: Certificates, port: number, load: Load) => Promise<number>
}

const secure = { requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" } as const

const pipe: Plain = {
  serve: async (certificates, { payloadSize, repeat }) => {
    const server = Tls.createServer({ ...certificates, ...secure }, (socket) => {
      const payload = Buffer.alloc(payloadSize)
      let left = repeat
      const read = function (this: Readable) {
        this.push(left-- > 0 ? payload : null)
      }
      // The client says when: the handshake is no part of the time.
      socket.once("data", () => new Readable({ read }).pipe(socket))
    })
    server.listen(0, host)
    await once(server, "listening")
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  },
  download: async (certificates, port) => {
    const socket = Tls.connect({ ...certificates, host, port, servername: "localhost" })
    await once(socket, "secureConnect")
    let received = 0
    socket.on("data", (chunk) => {
      received += chunk.length
    })
    return timed(async () => {
      socket.write("x")
      await once(socket, "end")
      return received
    })
  }
}

const path = "/echo.v1.EchoService/EchoServerStream"

const send = async (call: Grpc.ServerWritableStream<EchoRequest, unknown>) => {
  const { payloadSize, repeat } = call.request
  const payload = new Uint8Array(payloadSize)
  for (let i = 0; i < repeat; i++) {
    if (!call.write({ payload })) {
      await once(call, "drain")
    }
  }
  call.end()
}

const service: Grpc.ServiceDefinition = {
  send: {
    path,
    requestStream: false,
    responseStream: true,
    requestSerialize: request.serialize,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize,
    responseDeserialize: response.deserialize
  }
}

const grpcJs: Plain = {
  serve: ({ ca, cert, key }) =>
    new Promise((resolve, reject) => {
      const server = new Grpc.Server()
      server.addService(service, { send })
      const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }
      const credentials = Grpc.ServerCredentials.createSsl(Buffer.from(ca), [pair], true)
      server.bindAsync(`${host}:0`, credentials, (error, port) => (error === null ? resolve(port) : reject(error)))
    }),
  download: async ({ ca, cert, key }, port, load) => {
    const credentials = Grpc.credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert))
    const client = new Grpc.Client(`${host}:${port}`, credentials)
    const receive = async ({ payloadSize, repeat }: Load) => {
      const call = client.makeServerStreamRequest(path, request.serialize, response.deserialize, {
        payloadSize,
        repeat
      })
      let received = 0
      call.on("data", ({ payload }) => {
        received += payload.length
      })
      await once(call, "end")
      return received
    }
    // The handshake is no part of the time.
    await receive({ payloadSize: 1, repeat: 1 })
    return timed(() => receive(load))
  }
}

const plain: Readonly<Record<string, Plain>> = { pipe, "grpc-js": grpcJs }

/** Bytes per second. */
const timed = async (receive: () => Promise<number>) => {
  const started = performance.now()
  const received = await receive()
  return (received * 1000) / (performance.now() - started)
}

interface Task {
  readonly name: string
  readonly certificates: Certificates
  readonly load: Load
  readonly port?: number
}

/** Runs one side in a process of its own, which serves, or downloads from a port. */
const side = async (task: Task) => {
  const child = fork(fileURLToPath(import.meta.url), ["side"], { execArgv: [...process.execArgv, "--no-deprecation"] })
  child.send(task)
  const [result] = (await Promise.race([once(child, "message"), once(child, "exit")])) as [number]
  return { result, stop: () => child.disconnect() }
}

const onTask = async ({ certificates, load, name, port }: Task) => {
  const { download, serve } = plain[name] ?? pipe
  const result = await (port === undefined ? serve(certificates, load) : download(certificates, port, load))
  process.send?.(result)
}

const runPlain = async (name: string, certificates: Certificates, load: Load) => {
  const server = await side({ name, certificates, load })
  const client = await side({ name, certificates, load, port: server.result })
  server.stop()
  client.stop()
  return client.result
}

const runContestant = (
  name: string,
  certificates: Certificates,
  { payloadSize: bytes, repeat }: Load,
  profile: string | undefined
) =>
  Harness.withPair(name, async (server, client) => {
    const port = await server.ask("serve", { certificates })
    await client.ask("connect", { certificates, port, count: 1 })
    const pace = { slowSeconds: 0, pauseMillis: 0 }
    const sides = Object.entries({ client, server })
    if (profile !== undefined) {
      await Promise.all(sides.map(([, child]) => child.ask("startProfile")))
    }
    const speed = await timed(async () => {
      await client.ask("download", { bytes, repeat, pace })
      return bytes * repeat
    })
    if (profile !== undefined) {
      for (const [side, child] of sides) {
        const title = `${name}-bulk-${side}`
        console.log(Report.profile(title, await child.ask("stopProfile", { file: `${profile}/${title}.cpuprofile` })))
      }
    }
    return speed
  })

const others = ["bare-tls", "tls-live", "grpc-live", "grpc-js"]

const main = async () => {
  const { values } = parseArgs({
    options: {
      only: { type: "string", default: others.join(",") },
      rounds: { type: "string", default: "3" },
      mib: { type: "string", default: "1024" },
      message: { type: "string", default: "64" },
      profile: { type: "string" },
      help: { type: "boolean", default: false }
    }
  })
  if (values.help) {
    return console.log(usage)
  }
  const names = ["pipe", ...values.only.split(",")]
  const payloadSize = Number(values.message) * 1024
  const load = { payloadSize, repeat: Math.ceil((Number(values.mib) * 1024 * 1024) / payloadSize) }
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const speeds = new Map<string, Array<number>>(names.map((name) => [name, []]))
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of names) {
      const run = name in plain ? runPlain : runContestant
      const profile = round === Number(values.rounds) - 1 ? values.profile : undefined
      const speed = (await run(name, certificates, load, profile)) / 1024 / 1024
      console.error(`round ${round + 1}/${values.rounds} ${name}: ${Report.number(speed)} MiB/s`)
      speeds.get(name)?.push(speed)
    }
  }
  const rows = names.map((name) => {
    const each = speeds.get(name) ?? []
    const ratios = each.map((speed, round) => speed / (speeds.get("pipe")?.[round] ?? Number.NaN))
    return [name, Report.spread(each), Report.spread(ratios, 2)]
  })
  console.log(Report.table(["", "MiB/s", "x pipe"], rows))
}

if (process.argv[2] === "side") {
  process.on("message", onTask)
  process.on("disconnect", () => process.exit())
} else {
  await main()
}
