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
  --young n    MiB that V8 has for young objects at the least, and twice that at the most; see bench/README.md
  --profile d  write CPU profiles of the last round there, and print what costs most`

/** What is sent: so many messages of a size. */
type Load = Pick<EchoRequest, "repeat" | "payloadSize">

/** Messages before those that count: a handshake and the compiler of V8 are no part of the time. The pipe has no use for it. */
const warmUp = ({ payloadSize }: Load) => Math.ceil((128 * 1024 * 1024) / payloadSize)

/** What the contestants of the other benchmarks do not have. */
interface Plain {
  readonly serve: (certificates: Certificates, load: Load) => Promise<number>
  readonly download: (certificates: Certificates, port: number, load: Load) => Promise<Timed>
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
    await receive({ ...load, repeat: warmUp(load) })
    return timed(() => receive(load))
  }
}

const plain: Readonly<Record<string, Plain>> = { pipe, "grpc-js": grpcJs }

/** The seconds of CPU that this process has used up. */
const cpuSeconds = () => {
  const { system, user } = process.cpuUsage()
  return (user + system) / 1e6
}

/** Bytes per second, and the seconds of CPU that went into them here. */
const timed = async (receive: () => Promise<number>) => {
  const before = cpuSeconds()
  const started = performance.now()
  const received = await receive()
  return { speed: (received * 1000) / (performance.now() - started), cpu: cpuSeconds() - before }
}

type Timed = Awaited<ReturnType<typeof timed>>

/** What one run came to: bytes per second, and seconds of CPU on each side. */
interface Result {
  readonly speed: number
  readonly serverCpu: number
  readonly clientCpu: number
}

interface Run {
  readonly certificates: Certificates
  readonly load: Load
  readonly flags: ReadonlyArray<string>
  /** Where to write a profile, if anywhere. */
  readonly profile: string | undefined
}

interface Task {
  readonly name: string
  readonly certificates: Certificates
  readonly load: Load
  readonly port?: number
}

/** A process of its own for one side: what it is asked to serve or to download it answers with a port or the speed. */
const side = (flags: ReadonlyArray<string>) => {
  const execArgv = [...process.execArgv, "--no-deprecation", ...flags]
  const child = fork(fileURLToPath(import.meta.url), ["side"], { execArgv })
  const ask = async <A>(message: Task | "usage") => {
    child.send(message)
    const [result] = (await Promise.race([once(child, "message"), once(child, "exit")])) as [A]
    return result
  }
  return { ask, stop: () => child.disconnect() }
}

const onMessage = async (message: Task | "usage") => {
  if (message === "usage") {
    return process.send?.(cpuSeconds())
  }
  const { certificates, load, name, port } = message
  const { download, serve } = plain[name] ?? pipe
  process.send?.(await (port === undefined ? serve(certificates, load) : download(certificates, port, load)))
}

const runPlain = async (name: string, { certificates, flags, load }: Run): Promise<Result> => {
  const [server, client] = [side(flags), side(flags)]
  const port = await server.ask<number>({ name, certificates, load })
  const before = await server.ask<number>("usage")
  const { cpu, speed } = await client.ask<Timed>({ name, certificates, load, port })
  const serverCpu = (await server.ask<number>("usage")) - before
  server.stop()
  client.stop()
  return { speed, serverCpu, clientCpu: cpu }
}

const runContestant = (name: string, { certificates, flags, load, profile }: Run): Promise<Result> =>
  Harness.withPair(
    name,
    async (server, client) => {
      const port = await server.ask("serve", { certificates })
      await client.ask("connect", { certificates, port, count: 1 })
      const { payloadSize: bytes, repeat } = load
      const pace = { slowSeconds: 0, pauseMillis: 0 }
      await client.ask("download", { bytes, repeat: warmUp(load), pace })
      const sides = Object.entries({ client, server })
      if (profile !== undefined) {
        await Promise.all(sides.map(([, child]) => child.ask("startProfile")))
      }
      const usage = () => Promise.all([server.ask("usage"), client.ask("usage")])
      const [serverBefore, clientBefore] = await usage()
      const { speed } = await timed(async () => {
        await client.ask("download", { bytes, repeat, pace })
        return bytes * repeat
      })
      const [serverAfter, clientAfter] = await usage()
      if (profile !== undefined) {
        for (const [side, child] of sides) {
          const title = `${name}-bulk-${side}`
          console.log(Report.profile(title, await child.ask("stopProfile", { file: `${profile}/${title}.cpuprofile` })))
        }
      }
      return {
        speed,
        serverCpu: serverAfter.cpuSeconds - serverBefore.cpuSeconds,
        clientCpu: clientAfter.cpuSeconds - clientBefore.cpuSeconds
      }
    },
    flags
  )

const others = ["bare-tls", "tls-live", "grpc-live", "grpc-js"]

const main = async () => {
  const { values } = parseArgs({
    options: {
      only: { type: "string", default: others.join(",") },
      rounds: { type: "string", default: "3" },
      mib: { type: "string", default: "1024" },
      message: { type: "string", default: "64" },
      young: { type: "string" },
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
  const { young } = values
  const flags =
    young === undefined ? [] : [`--min-semi-space-size=${young}`, `--max-semi-space-size=${2 * Number(young)}`]
  Harness.build()
  const certificates = await Effect.runPromise(Harness.makeCertificates)
  const results = new Map<string, Array<Result>>(names.map((name) => [name, []]))
  const gib = (load.repeat * payloadSize) / 1024 ** 3
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const name of names) {
      const run = name in plain ? runPlain : runContestant
      const profile = round === Number(values.rounds) - 1 ? values.profile : undefined
      const result = await run(name, { certificates, load, flags, profile })
      console.error(`round ${round + 1}/${values.rounds} ${name}: ${Report.number(result.speed / 1024 ** 2)} MiB/s`)
      results.get(name)?.push(result)
    }
  }
  const rows = names.map((name) => {
    const each = results.get(name) ?? []
    const ratios = each.map(({ speed }, round) => speed / (results.get("pipe")?.[round]?.speed ?? Number.NaN))
    const cpu = (key: "serverCpu" | "clientCpu") =>
      Report.spread(
        each.map((result) => result[key] / gib),
        2
      )
    const speeds = each.map(({ speed }) => speed / 1024 ** 2)
    return [name, Report.spread(speeds), Report.spread(ratios, 2), cpu("serverCpu"), cpu("clientCpu")]
  })
  console.log(Report.table(["", "MiB/s", "x pipe", "server CPU s/GiB", "client CPU s/GiB"], rows))
}

if (process.argv[2] === "side") {
  process.on("message", onMessage)
  process.on("disconnect", () => process.exit())
} else {
  await main()
}
