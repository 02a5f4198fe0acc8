/** The longest that a timer of Node can wait, in milliseconds: 24.8 days. One for longer than that fires at once. */
export const maxTimerMillis = 2 ** 31 - 1

/** Milliseconds as a timer takes them. Who needs longer looks at the time when it fires. */
export const clamp = (millis: number): number => Math.min(Math.max(0, Math.ceil(millis)), maxTimerMillis)

/** Calls `f` after so many milliseconds, which may be infinite. Returns what stops that. */
export const after = (millis: number, f: () => void): (() => void) => {
  const due = performance.now() + millis
  let timer: NodeJS.Timeout | undefined
  const arm = (left: number) => {
    if (left !== Number.POSITIVE_INFINITY) {
      timer = setTimeout(left > maxTimerMillis ? () => arm(due - performance.now()) : f, clamp(left))
    }
  }
  arm(millis)
  return () => clearTimeout(timer)
}
