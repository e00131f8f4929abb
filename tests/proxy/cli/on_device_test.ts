import assert from "node:assert/strict";
import { gatewayOn } from "../../../proxy/cli/on_device.ts";
import { ownNamespace } from "../../../proxy/system/namespace.ts";
import { StateFile } from "../../../proxy/system/state_file.ts";
import { TempFolder } from "../../temp_folder.ts";

Deno.test({
  name:
    "a gateway is found by the device that it runs on, while it runs, and where it is the only one",
  ignore: Deno.build.os !== "linux",
  fn() {
    using folder = new TempFolder();
    const namespace = ownNamespace();
    const begin = (device: string, gateway?: string, inode = namespace.inode) =>
      StateFile.create({
        device,
        ...(gateway !== undefined && { gateway }),
        pid: 1,
        namespace: { ...namespace, inode },
      }, folder.path);
    assert.equal(gatewayOn("home", folder.path), undefined);
    const home = begin("home", "wg0");
    using _nameless = begin("nameless");
    assert.equal(gatewayOn("home", folder.path), "wg0");
    assert.equal(gatewayOn("wg0", folder.path), undefined);
    assert.equal(gatewayOn("nameless", folder.path), undefined);
    const elsewhere = begin("home", "wg1", namespace.inode + 1);
    assert.equal(gatewayOn("home", folder.path), undefined);
    elsewhere[Symbol.dispose]();
    assert.equal(gatewayOn("home", folder.path), "wg0");
    home[Symbol.dispose]();
    assert.equal(gatewayOn("home", folder.path), undefined, "it has ended");
    assert.equal(gatewayOn("home", `${folder.path}/none`), undefined);
  },
});
