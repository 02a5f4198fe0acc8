import { defineConfig, mergeConfig } from "vitest/config"
import base from "./vitest.config.js"

/** Files of `test/long` that wait for other programs or for a clock of their own, and measure nothing. */
export const peers = [
  "admission",
  "buf",
  "caddy",
  "calls",
  "certs",
  "chromium",
  "cluster",
  "clusterTransport",
  "commands",
  "foreignPeers",
  "gnutls",
  "guide",
  "http2Tools",
  "interop",
  "keytool",
  "loss",
  "ngtcp2",
  "openssl",
  "processes",
  "proxies",
  "retryStorm",
  "site",
  "slowReplica",
  "systemNames",
  "verifyPage",
  "verifyProcess"
].map((name) => `test/long/${name}.long.ts`)

/** Two of them at a time. */
export default mergeConfig(
  { ...base, test: { ...base.test, env: {}, include: peers } },
  defineConfig({
    test: {
      poolOptions: { forks: { isolate: true, minForks: 2, maxForks: 2 } },
      passWithNoTests: true,
      testTimeout: 300_000,
      hookTimeout: 300_000
    }
  })
)
