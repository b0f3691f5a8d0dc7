/** Runs the tests in test/ on the sources as they are, by Node's own test runner. */

import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const names = (await readdir(join(here, "test"))).filter((name) => name.endsWith(".test.ts")).sort();
// Within this directory, so that packages are found.
const target = await mkdtemp(join(here, ".test-"));
try {
  await build({
    absWorkingDir: here,
    entryPoints: names.map((name) => `test/${name}`),
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node18",
    outdir: target,
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
  const built = names.map((name) => join(target, name.replace(/\.ts$/, ".mjs")));
  process.exitCode =
    spawnSync(process.execPath, ["--test", "--test-reporter=tap", ...built], { stdio: "inherit" }).status ?? 1;
} finally {
  await rm(target, { recursive: true, force: true });
}
