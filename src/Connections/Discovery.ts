/**
 * Where the replicas of a service are, now and whenever that changes: from DNS, a file, a list, or a stream of the program's
 * own. `Transport.client` takes a `Discovery` in place of a target.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import type * as Stream from "effect/Stream"
import * as Peer from "../Transport/Peer.js"
import { InvalidArgument } from "../Transport/TransportError.js"
import * as All from "./internal/discovery/all.js"
import * as DnsSource from "./internal/discovery/dnsSource.js"
import * as FileSource from "./internal/discovery/fileSource.js"
import type { Source } from "./internal/discovery/source.js"
import * as StreamSource from "./internal/discovery/streamSource.js"
import * as TransportOptions from "./TransportOptions.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-transport/Discovery")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * One replica of a service.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint {
  /** `"host:port"`, `"[v6]:port"` or `"unix:path"`, as `Peer.parseTarget` reads it. One that can't be read is left out. */
  readonly address: string
  /**
   * Other addresses of the same replica, as of the other IP version: the first that works is used (RFC 8305). At most 16.
   * Default: none.
   */
  readonly alternatives?: ReadonlyArray<string> | undefined
  /** The name that its certificate must carry. Default: what the transport's `serverName` says, else `hostName`. */
  readonly serverName?: string | undefined
  /**
   * The name that the address was found by: its certificate must carry it, and requests name it, where nothing else is
   * said. Default: the host of the address.
   */
  readonly hostName?: string | undefined
  /** Its share of the calls beside the weights of others, where these count (`"weighted"`, and by key). Default 1. */
  readonly weight?: number | undefined
  /** Endpoints of the lowest number are called; others only while none of those is there (RFC 2782). Default 0. */
  readonly priority?: number | undefined
  /** What else is known of it: a zone, a version. It is shown among the states, and means nothing by itself. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
}

/**
 * Finds the endpoints of a service for as long as clients want to know them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Discovery {
  readonly [TypeId]: TypeId
  /** What errors and logs call it. */
  readonly name: string
  /** @internal */
  readonly source: Source
  /** What is wrong with what was asked for, so that nothing will ever be found. @internal */
  readonly invalid?: InvalidArgument | undefined
}

const make = (name: string, source: Source): Discovery => ({ [TypeId]: TypeId, name, source })

/**
 * @since 0.1.0
 * @category refinements
 */
export const isDiscovery = (u: unknown): u is Discovery => typeof u === "object" && u !== null && TypeId in u

/**
 * The endpoints of a stream: each element is all that there are from then on. An empty one takes all away. When the
 * stream ends, its last list stays. When it fails, its last list stays too, with a warning, and it is run again after a pause of 1 to 30
 * seconds.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromStream = <E>(
  endpoints: Stream.Stream<ReadonlyArray<Endpoint | string>, E>,
  options: { readonly name?: string | undefined } = {}
): Discovery => {
  const { name = "stream" } = options
  return make(name, StreamSource.make(endpoints, name))
}

const static_ = (endpoints: ReadonlyArray<Endpoint | string>): Discovery =>
  make("static", StreamSource.constant(endpoints))

export {
  /**
   * Endpoints that never change.
   *
   * @since 0.1.0
   * @category constructors
   */
  static_ as static
}

/**
 * How to ask for a name.
 *
 * @since 0.1.0
 * @category models
 */
export interface DnsOptions {
  /**
   * The DNS servers to ask, as `"10.0.0.2"` or `"10.0.0.2:5353"`. Default: those of the system (`/etc/resolv.conf`).
   */
  readonly servers?: ReadonlyArray<string> | undefined
  /**
   * How often to ask again; sooner where the records' time to live is over, but no more than once a second. A connection that
   * is lost has the name asked for at once. Default 30 seconds.
   */
  readonly interval?: Duration.DurationInput | undefined
}

const intervalOf = ({ interval = "30 seconds" }: Pick<DnsOptions, "interval">): Duration.Duration =>
  TransportOptions.duration("interval", interval)

/** One that says what is wrong with what it was asked for. */
const refuse = (name: string, message: string): Discovery => {
  const invalid = new InvalidArgument({ message, peer: name })
  const source: Source = ({ failed }) => {
    failed(invalid)
    return StreamSource.constantFailure
  }
  return { ...make(name, source), invalid }
}

const labelOf = (scheme: string, name: string, servers: ReadonlyArray<string> | undefined) =>
  `${scheme}://${servers?.[0] ?? ""}/${name}`

const fromName = (hostPort: string, label: string, source: (name: string, port: number) => Source): Discovery => {
  const target = Peer.parseTarget(hostPort)
  return Either.isLeft(target)
    ? refuse(label, target.left)
    : target.right._tag === "Unix"
      ? refuse(label, `${JSON.stringify(label)} names a unix socket, which is in no DNS`)
      : make(label, source(target.right.host, target.right.port))
}

/**
 * The A and AAAA records of a name, asked of DNS servers by `dns.promises.Resolver`, which knows how long they hold. Each address
 * is an endpoint; one of each IP version is one endpoint with both. Certificates are verified against the name. A server
 * that does not answer within 5 seconds, or has no record, leaves the last answer as it is; it is asked again after 1
 * second, and after longer and longer pauses up to `interval`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const dns: {
  (target: string, options?: DnsOptions): Discovery
  (options: DnsOptions & { readonly name: string; readonly port: number }): Discovery
} = (
  target: string | (DnsOptions & { readonly name: string; readonly port: number }),
  options: DnsOptions = typeof target === "string" ? {} : target
) => {
  const { servers } = options
  const hostPort = typeof target === "string" ? target : Peer.formatAddress({ host: target.name, port: target.port })
  const label = labelOf("dns", hostPort, servers)
  const interval = intervalOf(options)
  return fromName(hostPort, label, (name, port) => DnsSource.addresses(name, port, { label, servers, interval }))
}

/**
 * The SRV records of a name such as `"_grpc._tcp.example"`, asked of DNS servers by `dns.promises.Resolver`: each target is an
 * endpoint with all its addresses, its weight and its priority, and is verified against its own name. That name comes from
 * DNS: where certificates are also issued to others, `Tls.layer({ serverName })` says what to expect. Otherwise as `dns`;
 * at most 256 targets.
 *
 * Source: RFC 2782.
 *
 * @since 0.1.0
 * @category constructors
 */
export const srv: {
  (name: string, options?: DnsOptions): Discovery
  (options: DnsOptions & { readonly name: string }): Discovery
} = (
  name: string | (DnsOptions & { readonly name: string }),
  options: DnsOptions = typeof name === "string" ? {} : name
) => {
  const { servers } = options
  const asked = typeof name === "string" ? name : name.name
  const label = labelOf("srv", asked, servers)
  const interval = intervalOf(options)
  return asked.length <= 253 && /^[\w-]{1,63}(\.[\w-]{1,63})*\.?$/.test(asked)
    ? make(label, DnsSource.services(asked, { label, servers, interval }))
    : refuse(label, `${JSON.stringify(asked.slice(0, 300))} is no name of a service, as "_grpc._tcp.example"`)
}

/**
 * A JSON file: an array of addresses, or of objects with the fields of `Endpoint`. It is read again when it changes, however
 * it is replaced, and checked every `interval` (10 seconds) where the system tells of no change. A file that can't be
 * read leaves the last list as it is, and a warning names the line. At most 16 MiB.
 *
 * @since 0.1.0
 * @category constructors
 */
export const file = (
  path: string,
  options: { readonly interval?: Duration.DurationInput | undefined } = {}
): Discovery => {
  const name = `file:${path}`
  return make(name, FileSource.make(path, name, intervalOf({ interval: options.interval ?? "10 seconds" })))
}

const system = (label: string, hostPort: string) =>
  fromName(hostPort, label, (name, port) => DnsSource.system(name, port, { label, interval: intervalOf({}) }))

/** `scheme://authority/path`, where an authority is a DNS server. */
const uri = /^(dns|srv):\/\/([^/]*)\/(.*)$/is

const fromUri = (target: string): Discovery | undefined => {
  const [, scheme, server = "", path = ""] = uri.exec(target) ?? []
  if (scheme === undefined) {
    return undefined
  }
  const options = server === "" ? {} : { servers: [server] }
  return scheme.toLowerCase() === "srv" ? srv(path, options) : server === "" ? system(target, path) : dns(path, options)
}

/**
 * One plain target as a discovery, by the text that clients of it know it by.
 *
 * @internal
 */
export const single = (target: string): Discovery =>
  Either.match(Peer.parseTarget(target), {
    onLeft: (message) => refuse(target, message),
    onRight: (parsed) => make(Peer.formatTarget(parsed), StreamSource.constant([target]))
  })

/**
 * What a client was asked to reach, as a discovery; undefined for one plain target.
 *
 * @internal
 */
export const fromTarget = (target: string | ReadonlyArray<string> | Discovery): Discovery | undefined => {
  if (typeof target === "string") {
    return fromUri(target)
  }
  if (isDiscovery(target)) {
    return target
  }
  const name = target.slice(0, 3).join(",") + (target.length > 3 ? `,... (${target.length})` : "")
  const wrong = target.flatMap((each) =>
    fromUri(each) === undefined
      ? Either.match(Peer.parseTarget(each), { onLeft: (why) => [why], onRight: () => [] })
      : []
  )
  return target.length === 0
    ? refuse("[]", "a list of targets names no target")
    : wrong[0] !== undefined
      ? refuse(name, wrong[0])
      : make(name, All.make(target.map((each) => fromUri(each)?.source ?? StreamSource.constant([each]))))
}
