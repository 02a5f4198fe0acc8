/** The transport that the options name. */
import * as Options from "@effect/cli/Options"
import type * as Prompt from "@effect/cli/Prompt"
import type * as Duration from "effect/Duration"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import {
  Grpc,
  type Credentials as LibraryCredentials,
  Quic,
  Tls,
  type Transport,
  type TransportError
} from "effect-transport"
import * as Credentials from "./credentials.js"
import type { Failure } from "./failure.js"
import { timeout, type Wire, wire } from "./options.js"

/** The options of all commands that connect: wire, credentials, name and timeout. The target is `options.target`. */
export const connection = {
  wire,
  ...Credentials.options,
  serverName: Options.text("server-name").pipe(
    Options.withPseudoName("name"),
    Options.optional,
    Options.withDescription("The name that the peer's certificate must carry. Default: the host of the target.")
  ),
  timeout
}

/** What the options above parse to. */
export interface ConnectionConfig extends Credentials.CredentialsConfig {
  readonly wire: Wire
  readonly serverName: Option.Option<string>
  readonly timeout: Duration.Duration
}

/** A failure to set up the transport. */
export type SetupError = TransportError.CredentialsError | TransportError.MissingPackage | Failure

/** The options of the wires, as far as they are the same. */
interface WireOptions {
  readonly serverName?: string | undefined
  readonly connectTimeout?: Duration.Duration
  readonly defaultTimeout?: Duration.Duration
}

type Built<E> = Layer.Layer<Transport.Transport, E, LibraryCredentials.Credentials>

const wires: {
  readonly [wire in Wire]: (
    options: WireOptions
  ) => Built<TransportError.CredentialsError | TransportError.MissingPackage>
} = { grpc: Grpc.layer, quic: Quic.layer, tls: Tls.layer }

/** The transport of a client, with its credentials. */
export const layer = (
  config: ConnectionConfig
): Layer.Layer<Transport.Transport, SetupError, Prompt.Prompt.Environment> =>
  layerWith(config, Credentials.layer(config))

/** The transport of a listener. */
export const listening = (
  config: Credentials.CredentialsConfig & { readonly wire: Wire }
): Layer.Layer<Transport.Transport, SetupError, Prompt.Prompt.Environment> =>
  Layer.provide(wires[config.wire]({}), Credentials.layer(config))

/** The transport of a client with credentials that were made otherwise. */
export const layerWith = <E, R>(
  config: Pick<ConnectionConfig, "wire" | "serverName" | "timeout">,
  credentials: Layer.Layer<LibraryCredentials.Credentials, E, R>
) =>
  Layer.provide(
    wires[config.wire]({
      serverName: Option.getOrUndefined(config.serverName),
      connectTimeout: config.timeout,
      defaultTimeout: config.timeout
    }),
    credentials
  )
