/** An admission: who holds what of all listeners that share it, and what they are told when they ask. */
import type * as Clock from "effect/Clock"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Metric from "../../../effect/Metric.js"
import { sourceOf } from "../../../Handshake/HandshakeAdmission.js"
import type { AdmissionOptions } from "../../../Transport/AdmissionRules.js"
import type { IdentitySnapshot, Snapshot } from "../../../Transport/AdmissionService.js"
import type { Gate, Turned } from "../../../Transport/internal/admissionGate.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import * as Keys from "../../../Transport/internal/metricKeys.js"
import * as Time from "../../../Transport/internal/time.js"
import type * as Peer from "../../../Transport/Peer.js"
import * as Accounts from "./accounts.js"
import type { Leases } from "./leases.js"
import type * as Match from "./match.js"
import * as Node from "./node.js"
import type { Policy } from "./policy.js"
import * as Visit from "./visit.js"

export interface Admission {
  readonly gate: Gate
  readonly snapshot: () => Snapshot
  readonly options: () => AdmissionOptions
  /** Puts another policy in place, and ends what it denies. */
  readonly change: (policy: Policy) => void
  /** Ends the connections that match, and returns how many. A match that throws ends none. */
  readonly drop: (match: Match.Compiled) => number
  readonly measured: Node.Node["measured"]
}

interface Open {
  readonly connection: Visit.Connection
  readonly end: (reason: Turned) => void
}

/** The host of an address as `Peer.address` writes it; empty for unix sockets and in memory. */
const hostOf = (address: string): string => {
  const colon = address.lastIndexOf(":")
  return colon < 0 || address.startsWith("unix:") ? "" : address.slice(0, colon).replace(/^\[|\]$/g, "")
}

/** Who a peer is to an admission. Without a certificate that is where it comes from. */
const identityOf = ({ address, identity }: Peer.Peer, source: string): string =>
  Option.match(identity, {
    onNone: () => (source === "" ? (address.startsWith("unix:") ? "unix" : address) : sourceOf(source)),
    onSome: ({ fingerprint, spiffeId }) => Option.getOrElse(spiffeId, () => fingerprint)
  })

export const make = (
  initial: Policy,
  boundary: Boundary,
  clock: Clock.Clock,
  makeLeases?: (now: () => number) => Leases
): Admission => {
  const now = () => Time.now(clock)
  let policy = initial
  const node = Node.make(() => policy, now)
  const accounts = Accounts.make(now)
  const open = new Set<Open>()
  const sourceWatchers = new Set<() => void>()

  const counters = new Map<string, Metric.Hook>()
  const refused: Gate["refused"] = (rule, what, peer, why) => {
    const key = `${rule}\n${what}\n${why}`
    let counter = counters.get(key)
    if (counter === undefined) {
      counter = Metric.hook(Keys.admissionRefused, { rule, what, reason: why })
      counters.set(key, counter)
    }
    counter.update(1)
    boundary.log(LogLevel.Warning, "admission", `refused a ${what} of ${peer}: ${why}, by ${rule}`, { rule, what, why })
  }

  const end = (those: ReadonlyArray<Open>, reason: Turned) => {
    for (const { connection, end } of those) {
      refused(connection.rule(), "connection", connection.account.identity, reason)
      boundary.guard(
        "engine",
        connection.account.identity,
        () => end(reason),
        () => undefined
      )
    }
  }

  const shared: Visit.Shared = {
    policy: () => policy,
    node,
    holders: new Map(),
    leases: makeLeases?.(now),
    now,
    refused,
    onThrown: (identity, cause) => boundary.caught("callback", identity, cause),
    bar: (account, until) => {
      if (account.barredUntil < until) {
        const wasBarred = account.barredUntil > now()
        account.barredUntil = until
        if (!wasBarred) {
          // Not within the call that has cost too much: its connection has more to do for it.
          setImmediate(() =>
            end(
              [...open].filter(({ connection }) => connection.account === account),
              "TooExpensive"
            )
          )
        }
      }
    }
  }

  const visit: Gate["visit"] = (peer, endIt) => {
    const source = hostOf(peer.address)
    const account = accounts.of(identityOf(peer, source))
    const connection = Visit.make(shared, { identity: peer.identity, source }, account)
    const turned = account.barredUntil > now() ? "TooExpensive" : connection.open()
    if (turned !== undefined) {
      refused(connection.rule(), "connection", account.identity, turned)
      accounts.left(account)
      return turned
    }
    const entry: Open = { connection, end: endIt }
    open.add(entry)
    return {
      enter: connection.enter,
      spend: connection.spend,
      leave: () => {
        if (open.delete(entry)) {
          connection.close()
          accounts.left(account)
        }
      }
    }
  }

  const snapshotOf = (account: Accounts.Account, rule: string): IdentitySnapshot => ({
    identity: account.identity,
    rule,
    connections: account.connections,
    callsInFlight: account.running,
    queued: account.waiting,
    streams: account.streams,
    refused: account.refused
  })

  return {
    gate: {
      sources: () => policy.options.sources ?? noSources,
      onSources: (f) => {
        sourceWatchers.add(f)
        return () => sourceWatchers.delete(f)
      },
      shedsHandshakes: () => node.level() > 0,
      refused,
      visit
    },
    snapshot: () => {
      const rules = new Map([...open].map(({ connection }) => [connection.account, connection.rule()]))
      return {
        connections: open.size,
        callsInFlight: node.running(),
        queued: node.queued(),
        concurrency: node.limit(),
        shedding: node.level(),
        identities: Array.from(accounts.all(), (account) => snapshotOf(account, rules.get(account) ?? "none"))
          .filter(({ callsInFlight, connections, queued }) => callsInFlight + connections + queued > 0)
          .sort((a, b) => b.callsInFlight - a.callsInFlight || b.connections - a.connections)
      }
    },
    options: () => policy.options,
    change: (next) => {
      const before = policy.options.sources
      policy = next
      node.change()
      for (const entry of [...open]) {
        const turned = entry.connection.refresh()
        if (turned !== undefined) {
          end([entry], turned)
        }
      }
      if (before !== next.options.sources) {
        for (const f of [...sourceWatchers]) {
          boundary.guard("engine", "the sources of an admission", f, () => undefined)
        }
      }
    },
    drop: (match) => {
      const matching = [...open].filter(({ connection: { account, who } }) => {
        try {
          return match.connection(who)
        } catch (cause) {
          shared.onThrown(account.identity, cause)
          return false
        }
      })
      end(matching, "NotAuthorized")
      return matching.length
    },
    measured: node.measured
  }
}

const noSources = {}
