using System.Diagnostics;
using Dynamo.Vllm.Testing;

namespace Dynamo.Vllm.PeerTests;

/// <summary>Models as a trainer has them: the tiny one with sampling defaults of its own, and new weights for it.</summary>
internal static class TrainedModel
{
    private const string Script = """
        import sys
        from safetensors.torch import load_file, save_file
        source, target = sys.argv[1:]
        weights = load_file(source)
        # Each token gets the row of another one: the same shapes, other answers.
        weights["lm_head.weight"] = weights["lm_head.weight"].roll(7, dims=0).contiguous()
        save_file(weights, target, metadata={"format": "pt"})
        """;

    /// <summary>The files of the tiny model, with a generation config that names sampling defaults.</summary>
    public static string MakeWithDefaults(string folder) =>
        Make(folder, ["generation_config.json"], """{"bos_token_id":1,"eos_token_id":2,"temperature":0.5,"top_k":3,"max_new_tokens":12}""");

    /// <summary>The same model with other weights.</summary>
    public static async Task<string> MakeWithNewWeightsAsync(string folder)
    {
        const string weights = "model.safetensors";
        Make(folder, [weights], generationConfig: null);
        using var python = Process.Start(
            new ProcessStartInfo(Peers.Python, ["-c", Script, Path.Combine(Peers.TinyModel, weights), Path.Combine(folder, weights)])
        )!;
        await python.WaitForExitAsync();
        return python.ExitCode == 0 ? folder : throw new InvalidOperationException("the new weights could not be made");
    }

    private static string Make(string folder, string[] without, string? generationConfig)
    {
        Directory.CreateDirectory(folder);
        foreach (var file in Directory.GetFiles(Peers.TinyModel).Where(file => !without.Contains(Path.GetFileName(file))))
        {
            File.CreateSymbolicLink(Path.Combine(folder, Path.GetFileName(file)), file);
        }

        if (generationConfig is not null)
        {
            File.WriteAllText(Path.Combine(folder, "generation_config.json"), generationConfig);
        }

        return folder;
    }
}
