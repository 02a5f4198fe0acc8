/** What the errors of a call say about it: which method was called at which peer. */
export interface Where {
  readonly method: string
  readonly peer: string
}
