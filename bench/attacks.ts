/** Eight attacks, and what a good client beside them sees: `npm run bench:attacks -- --help`. */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as DevCa from "effect-transport/DevCa"
import * as Namespace from "./attacks/namespace.js"
import * as Processes from "./attacks/processes.js"
import type { Latencies, Strain } from "./attacks/protocol.js"
import * as Wires from "./attacks/wires.js"
import type { Certificates } from "./contestant.js"
import * as Harness from "./harness.js"
import * as Report from "./report.js"

const usage = `npm run bench:attacks -- [options]
Listener and good client are on one core, whoever attacks on another. The good client calls from 127.0.0.2 at a quarter of what
it can, whether or not it is answered; whoever attacks comes from another address.
  --wires a,b      of ${Wires.names.join(", ")}; default all
  --attacks a,b    of those below; default all
  --seconds n      of each attack; default 5, and 3 before and after it
  --quick          1.2 seconds, and 0.4 before and after
  --json           one line of JSON for each, and no table
  --cores a,b      of the listener and of whoever attacks; default 0,1`

const { values } = parseArgs({
  options: {
    wires: { type: "string", default: Wires.names.join() },
    attacks: { type: "string", default: "" },
    seconds: { type: "string", default: "5" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    cores: { type: "string", default: "0,1" },
    help: { type: "boolean", default: false }
  }
})

type Who = "stranger" | "good" | "attacker" | "tenant"

interface Attack {
  readonly title: string
  /** What the attacker process calls it. */
  readonly name: string
  readonly as: Who
  /** Handshakes are let in by rates of a second: what they cost at first is told by the worst call and pause. */
  readonly isFlood?: boolean
  readonly isIpv6?: boolean
}

const attacks: ReadonlyArray<Attack> = [
  { title: "handshakes from one source", name: "handshakes", as: "stranger", isFlood: true },
  { title: "handshakes from a /64", name: "handshakes", as: "stranger", isFlood: true, isIpv6: true },
  { title: "silent connections", name: "silence", as: "stranger", isFlood: true },
  { title: "one identity, 50 connections", name: "identity", as: "attacker" },
  { title: "a tenant at 10 times its rate", name: "tenant", as: "tenant" },
  { title: "messages of 4 MiB", name: "messages", as: "attacker" },
  { title: "slow readers", name: "readers", as: "attacker" },
  { title: "denied calls in a loop", name: "denied", as: "attacker" },
  { title: "calls cancelled at once", name: "cancels", as: "attacker" }
]

interface Row {
  readonly attack: string
  readonly wire: Wires.Name
  readonly before: Latencies
  readonly during: Latencies
  readonly after: Latencies
  /** During the attack. */
  readonly strain: Strain
  /** MiB more than before, at the most. */
  readonly grown: number
  readonly did: string
}

const periods = values.quick
  ? { quiet: 400, attack: 1200, warmUp: 600, measure: 400 }
  : { quiet: 3000, attack: Number(values.seconds) * 1000, warmUp: 4000, measure: 2000 }

/** The rates of a second have to have done their work. */
const settleMillis = 1000

const [listenerCore = 0, attackerCore = 1] = values.cores.split(",").map(Number)

const issue = async (): Promise<{ readonly [who in Who]: Certificates }> => {
  const ca = await Effect.runPromise(DevCa.make())
  const strangers = await Effect.runPromise(DevCa.make())
  const of = async (from: DevCa.DevCa, name: string): Promise<Certificates> => {
    const { cert, key } = await Effect.runPromise(from.issue({ names: [name, "localhost", "127.0.0.1"] }))
    return { ca: ca.ca, cert, key: Redacted.value(key) }
  }
  return {
    stranger: await of(strangers, "stranger"),
    good: await of(ca, "good"),
    attacker: await of(ca, "attacker"),
    tenant: await of(ca, "tenant")
  }
}

interface Side {
  readonly good: Processes.Process
  readonly host: string
  readonly port: number
  readonly attackFrom: (index: number) => string
}

const measure = async (
  attack: Attack,
  wire: Wires.Name,
  certificates: Certificates,
  listener: Processes.Process,
  { good, host, port }: Side,
  rate: number,
  attacker: Processes.Process
): Promise<Row> => {
  await attacker.ask("prepare", attack.name, wire, certificates, { host, port })
  const before = await good.ask("calls", rate, periods.quiet, 0)
  const quiet = await listener.ask("strain")
  const skip = attack.isFlood === true ? Math.min(settleMillis, periods.attack / 2) : 0
  const attacking = attacker.ask("attack", periods.attack)
  const during = await good.ask("calls", rate, periods.attack, skip)
  const strain = await listener.ask("strain")
  const did = await attacking
  attacker.stop()
  const after = await good.ask("calls", rate, periods.quiet, 0)
  return { attack: attack.title, wire, before, during, after, strain, grown: strain.peak - quiet.rss, did }
}

const onWire = async (wire: Wires.Name, chosen: ReadonlyArray<Attack>, onRow: (row: Row) => void) => {
  const certificates = await issue()
  const listener = await Processes.start("listener", listenerCore)
  const startGood = (from: string) => Processes.start("good", listenerCore, [from])
  const hosts = ["127.0.0.1", ...(Namespace.isInside ? [Namespace.ipv6.listener] : [])]
  const [port = 0, portOfIpv6 = 0] = await listener.ask("listen", wire, certificates.good, hosts)
  const ipv4: Side = {
    good: await startGood("127.0.0.2"),
    host: "127.0.0.1",
    port,
    attackFrom: (index) => `127.0.0.${10 + index}`
  }
  await ipv4.good.ask("connect", wire, certificates.good, `127.0.0.1:${port}`)
  await ipv4.good.ask("capacity", 64, periods.warmUp)
  const rate = (await ipv4.good.ask("capacity", 64, periods.measure)) / 4
  const all = [listener, ipv4.good]
  const side = async ({ isIpv6 = false }: Attack): Promise<Side> => {
    if (!isIpv6) {
      return ipv4
    }
    const { attacker, good: from, listener: host } = Namespace.ipv6
    const good = await startGood(from)
    all.push(good)
    await good.ask("connect", wire, certificates.good, `[${host}]:${portOfIpv6}`)
    await good.ask("capacity", 64, periods.warmUp / 2)
    return { good, host, port: portOfIpv6, attackFrom: () => attacker }
  }
  try {
    for (const [index, attack] of chosen.entries()) {
      const its = await side(attack)
      const attacker = await Processes.start("attacker", attackerCore, [its.attackFrom(index)])
      onRow(await measure(attack, wire, certificates[attack.as], listener, its, rate, attacker))
    }
  } finally {
    for (const each of all) {
      each.stop()
    }
  }
  return rate
}

const number = (value: number) => Report.number(value, value < 10 ? 1 : 0)

const both = ({ p50, p99 }: Latencies) => `${number(p50)} / ${number(p99)}`

const limit = ({ before }: Row) => Math.max(3 * before.p99, 20)

const print = (rows: ReadonlyArray<Row>, rates: ReadonlyArray<readonly [Wires.Name, number]>) => {
  const heads = ["attack", "wire", "before", "during", "after", "worst call", "worst pause", "memory", "failed"]
  console.log(
    Report.table(
      heads,
      rows.map((row) => [
        row.attack,
        row.wire,
        both(row.before),
        `${both(row.during)}${row.during.p99 > limit(row) ? " (!)" : ""}`,
        both(row.after),
        number(row.during.most),
        number(row.strain.pause),
        `+${number(Math.max(0, row.grown))}`,
        `${row.during.failures + row.after.failures}`
      ])
    )
  )
  console.log(
    `\nThe good client called ${rates.map(([wire, rate]) => `${Report.number(rate)} times a second on ${wire}`).join(", ")}.`
  )
  for (const { attack, did, wire } of rows) {
    console.log(`- ${attack}, ${wire}: ${did}`)
  }
}

const main = async () => {
  const wanted = values.attacks === "" ? attacks.map(({ title }) => title) : values.attacks.split(",")
  const chosen = attacks
    .filter(({ name, title }) => wanted.includes(title) || wanted.includes(name))
    .filter(({ isIpv6 = false }) => !isIpv6 || Namespace.isInside)
  if (!Namespace.isInside) {
    console.error("handshakes from a /64: skipped, because there can be no network namespace here")
  }
  Harness.build()
  const rows: Array<Row> = []
  const rates: Array<readonly [Wires.Name, number]> = []
  for (const wire of Wires.names.filter((name) => values.wires.split(",").includes(name))) {
    const rate = await onWire(wire, chosen, (row) => {
      rows.push(row)
      if (values.json) {
        console.log(JSON.stringify({ ...row, limit: limit(row) }))
      } else {
        console.error(`${row.wire}, ${row.attack}: ${both(row.before)}, ${both(row.during)}, ${both(row.after)}`)
      }
    })
    rates.push([wire, rate])
  }
  if (!values.json) {
    print(rows, rates)
  }
}

if (values.help) {
  console.log(`${usage}\n\n${attacks.map(({ name, title }) => `  ${name.padEnd(12)} ${title}`).join("\n")}`)
} else {
  const status = Namespace.isInside ? undefined : Namespace.enter()
  if (status === undefined) {
    await main()
  } else {
    process.exitCode = status
  }
}
