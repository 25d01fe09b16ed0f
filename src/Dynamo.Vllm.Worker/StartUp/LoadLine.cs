using System.Globalization;
using System.Text.RegularExpressions;

namespace Dynamo.Vllm.Worker.StartUp;

/// <summary>What a line of vLLM's output says of its load.</summary>
/// <remarks>
/// Words of vLLM 0.31. Those that another release says differently leave a phase out, no more: nothing but what is told depends on it.
/// With <c>VLLM_LOGGING_LEVEL</c> above INFO only the bars are left.
/// </remarks>
internal sealed partial record LoadLine(LoadPhase Phase, string? Detail)
{
    private static readonly (string Words, LoadPhase Begins)[] Signs =
    [
        ("Starting to load model", LoadPhase.Weights),
        ("Loading model from scratch", LoadPhase.Weights),
        ("Loading weights took", LoadPhase.Memory),
        ("Model loading took", LoadPhase.Memory),
        ("for vLLM's torch.compile", LoadPhase.Compilation),
        ("Warming up model for the compilation", LoadPhase.Compilation),
        ("Dynamo bytecode transform time", LoadPhase.Compilation),
        ("Available KV cache memory", LoadPhase.WarmUp),
        ("KV cache size:", LoadPhase.WarmUp),
        ("init engine (profile, create kv cache, warmup model) took", LoadPhase.FrontEnd),
    ];

    /// <summary>Null for what says nothing of it.</summary>
    public static LoadLine? Read(string line)
    {
        if (Bar().Match(line) is { Success: true } bar)
        {
            var what = bar.Groups["what"].Value;
            LoadPhase? phase =
                what.EndsWith("checkpoint shards", StringComparison.Ordinal) ? LoadPhase.Weights
                : what.Contains("CUDA graphs", StringComparison.Ordinal) ? LoadPhase.WarmUp
                : null;
            return phase is { } begun
                ? new LoadLine(begun, string.Create(CultureInfo.InvariantCulture, $"{what} {bar.Groups["done"]} of {bar.Groups["all"]}"))
                : null;
        }

        foreach (var (words, begins) in Signs)
        {
            if (line.Contains(words, StringComparison.Ordinal))
            {
                return new LoadLine(begins, null);
            }
        }

        return null;
    }

    /// <summary>A progress bar of tqdm, in its own form and in the one that vLLM gives it for checkpoints.</summary>
    [GeneratedRegex(
        @"(?<what>(Loading|Multi-thread loading|Capturing)[^:|]{1,80}): +\d{1,3}%[^|]*\|([^|]*\|)? (?<done>\d+)/(?<all>\d+) \["
    )]
    private static partial Regex Bar();
}
