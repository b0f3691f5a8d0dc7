/**
 * Builds what storehouse/frontends/upload/static/ has, or another directory that is given: scripts and the style sheet under
 * names with a hash of their content, manifest.json with these names, and the licences of the packages that went in.
 *
 * The same sources give the same bytes.
 */

import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = resolve(process.argv[2] ?? join(here, "../storehouse/frontends/upload/static"));

const settings = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  write: false,
  metafile: true,
  target: "es2022",
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
};

const files = new Map();
const manifest = {};
const packages = new Set();

function keep(name, content, metafile) {
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 12);
  const hashed = name.replace(/(\.[a-z]+)$/, `-${hash}$1`);
  files.set(hashed, content);
  manifest[name] = hashed;
  for (const input of Object.keys(metafile?.inputs ?? {})) {
    const found = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  return hashed;
}

async function bundle(source, name, more = {}) {
  const { outputFiles, metafile } = await build({
    ...settings,
    entryPoints: [`src/${source}`],
    outfile: `/${name}`,
    ...more,
  });
  return keep(name, Buffer.from(outputFiles[0].contents), metafile);
}

async function licences() {
  const pieces = ["Packages from npm that are part of the scripts here, and their licences.\n"];
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? (await readFile(join(folder, file), "utf8")).replace(/\r\n/g, "\n").trim() : "";
    pieces.push(`${"-".repeat(80)}\n${name} ${version}: ${license}\n\n${text}\n`);
  }
  return pieces.join("\n");
}

const worker = await bundle("hash-worker.ts", "hash-worker.js", { format: "iife" });
const define = { HASH_WORKER: JSON.stringify(`/static/${worker}`) };
for (const name of ["upload", "listing", "stats"]) await bundle(`${name}.ts`, `${name}.js`, { format: "esm", define });
await bundle("style.css", "style.css");
keep("icon.svg", await readFile(join(here, "src/icon.svg")));
const sorted = Object.fromEntries(Object.entries(manifest).sort());
files.set("manifest.json", Buffer.from(`${JSON.stringify(sorted, null, 2)}\n`));
files.set("LICENSES.txt", Buffer.from(await licences()));

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
for (const [name, content] of files) await writeFile(join(target, name), content);
