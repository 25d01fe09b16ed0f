using Dynamo.Vllm.Worker.Configuration;
using Dynamo.Vllm.Worker.ForwardPasses;

namespace Dynamo.Vllm.UnitTests.Worker.ForwardPasses;

/// <summary>Sentences and defaults were seen of the official package.</summary>
public sealed class PassTraceOptionsTests
{
    [Fact]
    public void Defaults_are_the_reference_s() =>
        Assert.Equal(
            new PassTraceOptions
            {
                Path = "/tmp/dynamo-fpm",
                IsFull = false,
                Interval = TimeSpan.FromSeconds(5),
                FileBytesMax = 268_435_456,
                FilesMax = 4,
            },
            PassTraceOptions.Read(new Dictionary<string, string>())
        );

    [Theory]
    [InlineData("FULL")]
    [InlineData("full ")]
    public void The_mode_is_read_without_capitals_and_spaces(string mode) => Assert.True(Read("DYN_FPM_MODE", mode).IsFull);

    [Theory]
    [InlineData("DYN_FPM_OUTPUT_PATH", "", "DYN_FPM_OUTPUT_PATH must not be empty")]
    [InlineData("DYN_FPM_MODE", "", "DYN_FPM_MODE must be sampled or full")]
    [InlineData("DYN_FPM_MODE", "latest", "DYN_FPM_MODE must be sampled or full")]
    [InlineData("DYN_FPM_SAMPLE_INTERVAL_MS", "0", "DYN_FPM_SAMPLE_INTERVAL_MS must be greater than zero")]
    [InlineData("DYN_FPM_SAMPLE_INTERVAL_MS", "5.5", "DYN_FPM_SAMPLE_INTERVAL_MS must be a positive integer")]
    [InlineData("DYN_FPM_JSONL_GZ_ROLL_BYTES", "-1", "DYN_FPM_JSONL_GZ_ROLL_BYTES must be a positive integer")]
    [InlineData("DYN_FPM_MAX_SEGMENTS", "", "DYN_FPM_MAX_SEGMENTS must be a positive integer")]
    [InlineData("DYN_FPM_MAX_SEGMENTS", "0", "DYN_FPM_MAX_SEGMENTS must be greater than zero")]
    public void Words_that_cannot_be_used_are_refused_as_there(string variable, string value, string expected) =>
        Assert.Equal(expected, Assert.Throws<ConfigurationException>(() => Read(variable, value)).Message);

    [Fact]
    public void Numbers_beyond_what_a_timer_takes_are_taken_as_the_longest() =>
        Assert.Equal(TimeSpan.FromDays(7), Read("DYN_FPM_SAMPLE_INTERVAL_MS", "99999999999").Interval);

    private static PassTraceOptions Read(string variable, string value) =>
        PassTraceOptions.Read(new Dictionary<string, string> { [variable] = value });
}
