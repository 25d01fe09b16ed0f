using System.Diagnostics;
using Dynamo.Vllm.Testing.Decoders;

namespace Dynamo.Vllm.Fuzz;

/// <summary>Gives a decoder many damaged inputs on all cores. The first that it does not survive is written to a file.</summary>
internal sealed class MutationRun(DecoderTarget target, long inputs, ulong seed, string findings)
{
    private long _next;
    private long _refused;
    private string? _fault;

    /// <returns>Null if every input was read or refused, else what happened.</returns>
    public string? Run()
    {
        var started = Stopwatch.GetTimestamp();
        var threads = Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Thread(Work) { IsBackground = true }).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        Console.WriteLine(
            $"{target.Name, -18} {inputs, 12:N0} inputs, {_refused * 100.0 / inputs:0.0}% refused, {inputs / seconds:N0} a second"
                + (_fault is null ? "" : $": {_fault}")
        );
        return _fault;
    }

    private void Work()
    {
        const int share = 1024;
        var mutator = new Mutator(target.Captures.Max(capture => capture.Length));
        var refused = 0L;
        while (_fault is null)
        {
            var first = Interlocked.Add(ref _next, share) - share;
            if (first >= inputs)
            {
                break;
            }

            for (var i = first; i < Math.Min(first + share, inputs); i++)
            {
                refused += Try(mutator, seed + (ulong)i) ? 0 : 1;
            }
        }

        Interlocked.Add(ref _refused, refused);
    }

    private bool Try(Mutator mutator, ulong inputSeed)
    {
        var input = mutator.Damage(target.Captures, inputSeed);
        try
        {
            return DecoderProof.Survives(input, target.Decode);
        }
        catch (Exception exception)
        {
            // What this run is for: whatever else comes out of a decoder is a finding.
            var path = Path.Combine(findings, $"{target.Name}-{inputSeed}.bin");
            Directory.CreateDirectory(findings);
            File.WriteAllBytes(path, input);
            Interlocked.CompareExchange(ref _fault, $"{exception.GetType().Name}: {exception.Message} (seed {inputSeed}, {path})", null);
            return false;
        }
    }
}
