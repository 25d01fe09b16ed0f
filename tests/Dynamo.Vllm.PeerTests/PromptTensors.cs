using System.Diagnostics;
using System.Text.Json.Nodes;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Prompt embeddings as a client makes them, with the peers' torch: rows
/// of the tiny model's own embedding table, and what no engine can use.</summary>
internal static class PromptTensors
{
    /// <summary>Tokens whose rows are the tensors named <c>rows-*</c>.</summary>
    public static readonly int[] Tokens = [1, 45, 375, 319, 70, 71, 72, 73, 74];

    private const string Script = """
        import base64, io, json, sys
        import torch
        from safetensors import safe_open

        folder, tokens = sys.argv[1], json.loads(sys.argv[2])
        with safe_open(folder + "/model.safetensors", framework="pt") as file:
            table = file.get_tensor("model.embed_tokens.weight")
        rows = table[tokens]
        noise = torch.randn(1100, table.shape[1], generator=torch.Generator().manual_seed(3)) * table.float().std()

        def saved(value):
            file = io.BytesIO()
            torch.save(value, file)
            return base64.b64encode(file.getvalue()).decode()

        prompts = {
            "rows-bfloat16": rows.bfloat16(), "rows-float32": rows.float(), "rows-float64": rows.double(),
            "rows-with-a-batch-dimension": rows.float()[None],
            "one-row": noise[:1].clone(), "two-blocks": noise[:70].clone(), "float16": noise[:20].half(),
            "nearly-the-context": noise[:1010].bfloat16(),
            "the-whole-context": noise[:1024].bfloat16(), "above-the-context": noise[:1025].bfloat16(), "one-dimension": noise[0].clone(),
            "three-dimensions": noise[:6].reshape(2, 3, -1).clone(), "wrong-width": noise[:9, :64].clone(), "no-rows": noise[:0].clone(),
            "integers": torch.zeros(9, table.shape[1], dtype=torch.int32), "a-dictionary": {"rows": rows},
        }
        prompts = {name: saved(value) for name, value in prompts.items()}
        whole = base64.b64decode(prompts["rows-float32"])
        prompts["cut-short"] = base64.b64encode(whole[:1200]).decode()
        prompts["zeros"] = base64.b64encode(bytes(200)).decode()
        prompts["words"] = base64.b64encode(b"no tensor at all, only words " * 8).decode()
        prompts["no-base64"] = "%" * 400
        print(json.dumps(prompts))
        """;

    public static async Task<JsonObject> MakeAsync()
    {
        var start = new ProcessStartInfo(Peers.Python, ["-c", Script, Peers.TinyModel, $"[{string.Join(',', Tokens)}]"])
        {
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var text = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0
            ? JsonNode.Parse(text)!.AsObject()
            : throw new InvalidOperationException($"the tensors cannot be made: exit code {process.ExitCode}");
    }
}
