/**
 * What an admission lets in by where it comes from, before a peer has proved who it is.
 *
 * @since 0.1.0
 */

/**
 * The sources of connections: addresses, of IPv6 by /64. Each listener asks before a handshake begins.
 *
 * @since 0.1.0
 * @category models
 */
export interface SourceOptions {
  /** Networks that may connect (`"10.0.0.0/8"`, `"fd00::/8"`, or one address). Default: all. What is denied stays so. */
  readonly allow?: ReadonlyArray<string> | undefined
  /** Networks that may not, closed before a byte of theirs is read. Default: none. */
  readonly deny?: ReadonlyArray<string> | undefined
}
