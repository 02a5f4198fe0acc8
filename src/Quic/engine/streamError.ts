/** quiche tells with which code the peer broke a stream off only in the text of its errors. */

export type StreamError =
  | { readonly _tag: "Reset"; readonly code: number }
  | { readonly _tag: "Stopped"; readonly code: number }
  /** The stream is over or was never there. */
  | { readonly _tag: "Gone" }

const pattern = /^Stream(Reset|Stopped)\((\d+)\)$/

const gone: StreamError = { _tag: "Gone" }

/** Reads `StreamReset(268)` and `StreamStopped(268)`; everything else says that nothing can be done with the stream. */
export const parse = (error: unknown): StreamError => {
  const [, kind, code] = pattern.exec(error instanceof Error ? error.message : "") ?? []
  return kind === "Reset" || kind === "Stopped" ? { _tag: kind, code: Number(code) } : gone
}
