/** What a DNS server says of a name: its addresses and services, and for how long that holds. */
import * as Dns from "node:dns"
import * as Net from "node:net"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Addresses {
  readonly addresses: ReadonlyArray<string>
  /** Seconds. */
  readonly ttl: number
}

export interface Resolver {
  /** The addresses of both IP versions. Fails where there is none, with the error of the first question that has one. */
  readonly addresses: (name: string) => Effect.Effect<Addresses, unknown>
  readonly services: (name: string) => Effect.Effect<ReadonlyArray<Dns.SrvRecord>, unknown>
}

/** One question is sent twice to each server. */
const options = { timeout: 1200, tries: 2 }

const isLocalhost = (name: string): boolean => /(^|\.)localhost\.?$/i.test(name)

/** The server was asked, and has no such record. */
const isNone = (cause: unknown): boolean =>
  cause instanceof Error && "code" in cause && (cause.code === "ENODATA" || cause.code === "ENOTFOUND")

/** Asks these servers, or those of the system. Throws what `setServers` throws. What still runs ends with the scope. */
export const make = (servers: ReadonlyArray<string> | undefined): Effect.Effect<Resolver, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const resolver = new Dns.promises.Resolver(options)
        if (servers !== undefined) {
          resolver.setServers(servers)
        }
        return resolver
      }),
      (resolver) => Effect.sync(() => resolver.cancel())
    ),
    (resolver) => ({
      services: (name) => Effect.tryPromise({ try: () => resolver.resolveSrv(name), catch: (cause) => cause }),
      addresses: (name) =>
        Net.isIP(name) !== 0
          ? Effect.succeed({ addresses: [name], ttl: Number.POSITIVE_INFINITY })
          : isLocalhost(name)
            ? Effect.succeed({ addresses: ["127.0.0.1", "::1"], ttl: Number.POSITIVE_INFINITY })
            : Effect.tryPromise({ try: () => bothOf(resolver, name), catch: (cause) => cause })
    })
  )

const bothOf = async (resolver: Dns.promises.Resolver, name: string): Promise<Addresses> => {
  const answers = await Promise.allSettled([
    resolver.resolve4(name, { ttl: true }),
    resolver.resolve6(name, { ttl: true })
  ])
  const records = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []))
  if (records.length === 0) {
    const causes = answers.map((answer): unknown => (answer.status === "rejected" ? answer.reason : undefined))
    throw causes.find((cause) => cause !== undefined && !isNone(cause)) ?? causes.find((cause) => cause !== undefined)
  }
  return {
    addresses: records.map(({ address }) => address),
    ttl: Math.min(...records.map(({ ttl }) => ttl))
  }
}
