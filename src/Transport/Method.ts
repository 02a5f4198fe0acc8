/**
 * Methods: what a transport moves.
 *
 * @since 0.1.0
 */

/**
 * Turns values into bytes and back. All functions may throw; a transport turns that into a typed error.
 *
 * `Input` is what `encode` accepts, `Output` what `decode` gives: protobuf, for one, encodes a partial message and
 * decodes a full one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Codec<in Input, out Output = unknown> {
  readonly encode: (value: Input) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Output
  /**
   * How many elements `decode` would make of these bytes (fields, items of lists, entries of maps, at any depth), counted
   * without making them and no further than just over `limit`; a number below zero for bytes that are malformed. A
   * transport asks before it decodes what a peer has sent, with its `maxMessageElements` for the limit. Without it the size
   * of a message is all that bounds what decoding it costs.
   */
  readonly countElements?: ((bytes: Uint8Array, limit: number) => number) | undefined
}

/**
 * How many messages go each way.
 *
 * @since 0.1.0
 * @category models
 */
export type Shape = "unary" | "serverStreaming" | "clientStreaming" | "bidiStreaming"

/**
 * Whether a method may be called again without knowing what became of the first call.
 *
 * - `noSideEffects`: it changes nothing.
 * - `idempotent`: it changes something, and a second time nothing more.
 * - `unknown`: its contract doesn't say, so that it may not.
 *
 * Source: `google.protobuf.MethodOptions.idempotency_level`.
 *
 * @since 0.1.0
 * @category models
 */
export type Idempotency = "unknown" | "noSideEffects" | "idempotent"

/**
 * One callable: path, shape and codecs. `I` and `O` are the messages as received, `II` and `OO` what may be given to
 * send them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Method<out I, out O, out S extends Shape = Shape, in II = never, in OO = never> {
  /** The full path, as `/dag.v1.DagService/SubmitTransaction`. */
  readonly path: string
  readonly shape: S
  /**
   * What its contract says of calling it again: of a protobuf method its `idempotency_level`. Default `unknown`. `RetryPolicy`
   * and what else repeats calls go by it; no transport calls a method twice by itself.
   */
  readonly idempotency?: Idempotency | undefined
  readonly input: Codec<II, I>
  readonly output: Codec<OO, O>
}

/**
 * A method whose types are not known.
 *
 * @since 0.1.0
 * @category models
 */
export type Any = Method<unknown, unknown>
