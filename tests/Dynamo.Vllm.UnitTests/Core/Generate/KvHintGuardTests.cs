using System.Text;
using Dynamo.Vllm.Core.Generate;
using Dynamo.Vllm.Protocol.Errors;

namespace Dynamo.Vllm.UnitTests.Core.Generate;

public sealed class KvHintGuardTests
{
    [Theory]
    [InlineData("5", "kv_hint must be an object")]
    [InlineData("{}", "kv_hint.actions must be a list")]
    [InlineData("""{"actions":{}}""", "kv_hint.actions must be a list")]
    [InlineData("""{"actions":[1]}""", "each kv_hint action must be an object")]
    [InlineData("""{"actions":[{}]}""", "kv_hint action payload must be an object")]
    [InlineData("""{"actions":[{"payload":[]}]}""", "kv_hint action payload must be an object")]
    [InlineData("""{"actions":[{"payload":{}}]}""", "kv_hint action has no action_id")]
    [InlineData("""{"actions":[{"payload":{},"action_id":1,"action_type":"t"}]}""", "kv_hint action has no action_version")]
    [InlineData("""{"actions":[]}""", "kv_hint has no protocol_version")]
    [InlineData("""{"actions":[],"protocol_version":"1"}""", "kv_hint has no message_id")]
    public void A_hint_of_another_form_is_refused_by_name(string hint, string problem)
    {
        var error = Assert.Throws<RequestFailedException>(() => KvHintGuard.Check(Encoding.UTF8.GetBytes(hint))).Error;
        Assert.Equal($"ValueError: {problem}", error.Message);
        Assert.Equal("InvalidRequest", error.Class);
    }

    [Theory]
    [InlineData("""{"protocol_version":1,"message_id":null,"actions":[]}""")]
    [InlineData(
        """{"protocol_version":"1.0","message_id":"m","actions":[{"action_id":"a","action_type":"t","action_version":"1","payload":{"x":1}}]}"""
    )]
    public void A_hint_of_the_right_form_passes(string hint) => KvHintGuard.Check(Encoding.UTF8.GetBytes(hint));

    [Fact]
    public void The_number_of_actions_is_bounded()
    {
        var actions = string.Join(',', Enumerable.Repeat("{}", 1025));
        var hint = Encoding.UTF8.GetBytes($"{{\"actions\":[{actions}]}}");
        Assert.Contains("1025 entries, limit 1024", Assert.Throws<RequestFailedException>(() => KvHintGuard.Check(hint)).Error.Message);
    }
}
