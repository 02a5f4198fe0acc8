/** The models of `Credentials`, in a file of their own so that the modules below it can name them. */
import type * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { Identity } from "../../Transport/Peer.js"
import type { Pins } from "../Pins.js"

/**
 * A certificate and its key: what this side presents to prove who it is.
 *
 * @since 0.1.0
 * @category models
 */
export interface KeyPair {
  /** PEM: the leaf first, then the intermediates. */
  readonly chain: string
  /** PEM, PKCS#8, not encrypted. */
  readonly key: Redacted.Redacted
  /** What peers read from the leaf: its fingerprint, names and expiry. */
  readonly identity: Identity
}

/**
 * No TLS: whoever is on the path reads and changes everything.
 *
 * @since 0.1.0
 * @category models
 */
export interface Insecure {
  readonly _tag: "Insecure"
}

/**
 * Mutual TLS.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tls {
  readonly _tag: "Tls"
  /** None for a client that presents no certificate; a listener needs one. */
  readonly certificate: Option.Option<KeyPair>
  /** PEM, one certificate each: the only issuers that are trusted. The system's are not. Empty with pins instead. */
  readonly ca: ReadonlyArray<string>
  /**
   * By SPIFFE trust domain, as `"a.example"`, the CAs that may vouch for ids of it (PEM, one certificate each), and
   * which no other may. Those that are not in `ca` too may vouch for nobody else.
   */
  readonly trustDomains?: { readonly [domain: string]: ReadonlyArray<string> } | undefined
  /** PEM, one list each: the certificates that the CAs have revoked. Where there is one, every CA needs one. */
  readonly crl?: ReadonlyArray<string> | undefined
  /** The certificates or keys that peers must have. */
  readonly pins?: Pins | undefined
}

/**
 * What a transport needs to prove who it is and to check who the peer is.
 *
 * @since 0.1.0
 * @category models
 */
export type Material = Insecure | Tls
