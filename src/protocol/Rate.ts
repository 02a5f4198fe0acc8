/** Counts what happens in a second. Returns whether that is more than may be. `now` is in milliseconds. */
export const make = (limit: number): ((now: number) => boolean) => {
  let since = Number.NEGATIVE_INFINITY
  let count = 0
  return (now) => {
    if (now - since >= 1000) {
      since = now
      count = 0
    }
    count += 1
    return count > limit
  }
}
