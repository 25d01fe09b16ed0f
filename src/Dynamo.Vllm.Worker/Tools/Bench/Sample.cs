namespace Dynamo.Vllm.Worker.Tools.Bench;

/// <summary>Values of one kind, in seconds, and what is said of them: as numpy
/// computes it, so that figures of both programs compare.</summary>
internal sealed class Sample
{
    private readonly double[] _sorted;

    /// <param name="values">None: everything is 0, as vLLM has it.</param>
    public Sample(IEnumerable<double> values)
    {
        _sorted = [.. values];
        Array.Sort(_sorted);
        Mean = _sorted.Length == 0 ? 0 : _sorted.Sum() / _sorted.Length;
        Deviation = _sorted.Length == 0 ? 0 : Math.Sqrt(_sorted.Sum(value => (value - Mean) * (value - Mean)) / _sorted.Length);
    }

    public double Mean { get; }

    /// <summary>Of the whole, not an estimate from a part: numpy's <c>std</c> without <c>ddof</c>.</summary>
    public double Deviation { get; }

    public double Median => Percentile(50);

    /// <summary>Between two values the line that joins them, which is numpy's way unless it is told otherwise.</summary>
    public double Percentile(double percent)
    {
        if (_sorted.Length == 0)
        {
            return 0;
        }

        var position = percent / 100 * (_sorted.Length - 1);
        var below = (int)Math.Floor(position);
        var above = Math.Min(below + 1, _sorted.Length - 1);
        return _sorted[below] + ((_sorted[above] - _sorted[below]) * (position - below));
    }
}
